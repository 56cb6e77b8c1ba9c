"""The processes of one run: who is the first, what all of them know, and what each does in turn.

A run on several devices is one process a device. torchrun or SLURM starts them; else `lmteach fit` starts the
others itself. They meet over torch's TCPStore. Training uses torch's process group, whose time limit is
`trainer.timeout`. Everything else waits here without a limit, by asking the store now and then, since a teacher
may take hours; what ends such a wait is that all have come, or that one is known to be gone (`watch.py`).
Arrays go by files in the run folder, which all ranks must see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lmteach.errors import RunError

if TYPE_CHECKING:
    from lmteach.curriculum.watch import Watch

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.002, 0.1  # seconds between two looks at the store
LOST_MEND = "What was judged is in the store; `--resume` goes on."


@dataclass
class Ranks:
    """All ranks of a run, seen from one of them. Every rank must make the same calls in the same order.

    Attributes:
        scratch: a folder that all ranks see, for what goes from one to another.
    """

    rank: int = 0
    n: int = 1
    scratch: Path = field(default_factory=Path)
    store: Any = None
    watch: Watch | None = None
    n_calls: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """Return the first rank's value, on all ranks; it must be JSON."""
        if self.n == 1:
            return value
        key = self._next_key()
        if self.is_first:
            self._call(lambda: self.store.set(key, json.dumps(value)))
            return value
        self._wait([key])
        found: T = json.loads(self._call(lambda: self.store.get(key)))
        return found

    def collect(self, value: T) -> list[T]:
        """Return every rank's value, by rank, on all ranks; it must be JSON."""
        if self.n == 1:
            return [value]
        key = self._next_key()
        keys = [f"{key}/{rank}" for rank in range(self.n)]
        self._call(lambda: self.store.set(keys[self.rank], json.dumps(value)))
        self._wait(keys)
        return [json.loads(self._call(lambda key=key: self.store.get(key))) for key in keys]  # type: ignore[misc]

    def barrier(self) -> None:
        """Wait, however long, until all ranks are here.

        Raises:
            RunError: one never will be.
        """
        self.collect(None)

    def first_then_rest(self, make: Callable[[], T]) -> T:
        """Run `make` on the first rank, and then on the others, which find on disk what it left there."""
        if self.is_first:
            made = make()
            self.share(None)
            return made
        self.share(None)
        return make()

    def first_alone(self, make: Callable[[], object]) -> None:
        """Run `make` on the first rank while the others wait."""
        if self.is_first:
            make()
        self.share(None)

    def check(self) -> None:
        """Raise the error for a rank that is gone, if one is.

        Raises:
            RunError: it names the rank and its process.
        """
        if self.watch is not None and self.watch.lost is not None:
            raise RunError(f"{self.watch.lost}", mend=LOST_MEND)

    def _next_key(self) -> str:
        self.n_calls += 1
        return f"call/{self.n_calls}"

    def _wait(self, keys: list[str]) -> None:
        wait = FIRST_WAIT
        while not self._call(lambda: self.store.check(keys)):
            self.check()
            time.sleep(wait)
            wait = min(LONGEST_WAIT, 1.5 * wait)

    def _call(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except RuntimeError as error:  # torch's errors of a lost connection are its subclasses
            self.await_news()
            raise RunError(f"The store that ranks meet at is gone: {error}.", mend=LOST_MEND) from error

    def await_news(self, seconds: float = 5.0) -> None:
        """Give the news of a lost rank time to arrive, then raise it.

        Raises:
            RunError: it arrived.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            time.sleep(0.05)


SOLO = Ranks()
"""A run in one process: every call returns at once."""
