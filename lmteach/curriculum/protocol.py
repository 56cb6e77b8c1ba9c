"""What a curriculum is: which documents are labelled in a cycle, and whether another cycle follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CycleState:
    """What is known when a cycle begins.

    `n_documents` is the number of training documents there are; `cycle` counts from 0. `labelled` are the
    positions of earlier cycles. `vectors` and `probabilities` compute, for some positions, unit vectors [n, D]
    by the untuned student and class probabilities [n, C] by the last cycle's; both are None where they are not
    to be had (in a plan, and of taggers), `probabilities` in the first cycle too.
    """

    cycle: int
    n_documents: int
    seed: int
    labelled: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    vectors: Callable[[Positions], npt.NDArray[np.float32]] | None = None
    probabilities: Callable[[Positions], npt.NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class CycleResult:
    """What a finished cycle measured.

    `dev_p1` is the share of dev documents whose top label the teacher affirms; of a classifier, its accuracy on
    the labels that are kept apart (`training.validation`).
    """

    cycle: int
    dev_p1: float
    n_positives: int


@runtime_checkable
class Curriculum(Protocol):
    """Built as `MyCurriculum(config)`. A pure function of its arguments, so that a resumed run decides alike.

    A class may say `relabels = True`: later cycles are there to label the same documents again, with candidates of
    the better student. Classifiers, whose candidates are always all classes, then have one cycle.
    """

    Config: ClassVar[type[Any]]

    @property
    def max_cycles(self) -> int:
        """No more cycles than this, whatever `keep_going` says."""

    def select(self, state: CycleState) -> npt.NDArray[np.int64]:
        """Return the positions of the training documents to label in this cycle."""

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        """Return whether another cycle should follow those in `history` (never empty)."""
