"""The `mine` curriculum: few documents in the first cycle, more in each that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach.errors import RecipeError


class MineCurriculum:
    """A growing part of the documents, the former ones included, so that no verdict is paid for twice."""

    @dataclass
    class Config:
        """Keys of `curriculum:` with `name: mine`.

        Attributes:
            cycles: how many.
            first: share of the documents in the first cycle; the last has them all.
        """

        cycles: int = 3
        first: float = 0.25

    def __init__(self, config: Config) -> None:
        if config.cycles < 1:
            raise RecipeError(f"It is {config.cycles}; it must be 1 or more.", where="curriculum.cycles")
        if not 0 < config.first <= 1:
            raise RecipeError(f"It is {config.first}; it lies above 0, up to 1.", where="curriculum.first")
        self.config = config

    @property
    def max_cycles(self) -> int:
        """No more cycles than this."""
        return self.config.cycles

    def select(self, state: CycleState) -> npt.NDArray[np.int64]:
        """Return the positions of the documents to label, ascending; decided by the seed and the cycle."""
        order = np.random.default_rng([state.seed]).permutation(state.n_documents)
        done = min(state.cycle / max(self.config.cycles - 1, 1), 1.0)
        share = 1.0 if self.config.cycles == 1 else self.config.first ** (1 - done)
        n = max(1, round(share * state.n_documents))
        return np.sort(order[:n]).astype(np.int64)

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        """Go on until all cycles are done, however well it goes."""
        return len(history) < self.config.cycles
