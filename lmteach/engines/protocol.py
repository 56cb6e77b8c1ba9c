"""What an engine is. Work is one thing done to many parts; an engine decides in which processes.

Data flows one way: the parts go to workers, each part's answer comes back, and what workers count on the way
(rows, judgements, dollars) is added up in one place, where a worker sees the sums of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Sums:
    """What all workers have counted.

    Attributes:
        standing: of the parts that are done or being done.
        lost: of attempts whose worker died; their parts were begun again, from nothing.
        n_lost: how many such attempts there were.
        seconds: wall clock since the work began.
    """

    standing: Numbers = field(default_factory=dict)
    lost: Numbers = field(default_factory=dict)
    n_lost: int = 0
    seconds: float = 0.0

    def total(self, name: str) -> float:
        """Return a number over all attempts, the lost ones too: what was paid for."""
        return self.standing.get(name, 0) + self.lost.get(name, 0)


Tell = Callable[[Numbers], Sums]
"""Adds numbers to a part's, and returns the sums over all parts."""


class Worker(Protocol):
    """Does one part after another; loads what it needs once."""

    def do(self, part: Any, tell: Tell) -> Any:
        """Do a part and return what is to be known of it. Safe to do again after a kill.

        Raises:
            LmteachError: it cannot be done; ends the work.
        """

    def close(self) -> None:
        """Free what it holds."""


class Work(Protocol):
    """What is to be done to each part: small, and picklable where an engine has other processes."""

    def open(self) -> Worker:
        """Return a worker, in the process that will use it."""


class Engine(Protocol):
    """Has work done."""

    n_machines: int

    @property
    def n_workers(self) -> int:
        """How many parts are done at a time."""

    def run(
        self, work: Work, parts: Sequence[Any], listen: Callable[[Sums], None]
    ) -> AbstractContextManager[Iterator[tuple[int, Any]]]:
        """Begin the work; yields (number of a part, its answer) as parts are done, in any order.

        Args:
            parts: each small and picklable.
            listen: called with the sums now and then, and once at the end.

        Raises:
            LmteachError: what a worker raised, or no worker could do a part.
        """
