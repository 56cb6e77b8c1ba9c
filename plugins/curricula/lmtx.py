"""The LMTX curriculum: the same documents every cycle, until the teacher-judged P@1 no longer improves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach.errors import RecipeError


class LmtxCurriculum:
    """LMTX, section 3: relabel with the better student while `dev_p1` rises, at most `cycles` times."""

    relabels = True

    @dataclass
    class Config:
        """`cycles` at most; `n_documents` a cycle (None = all); `patience` cycles without a gain end the run.

        `fresh` draws other documents in each cycle instead of the same ones.
        """

        cycles: int = 4
        n_documents: int | None = None
        patience: int = 1
        fresh: bool = False

    def __init__(self, config: Config) -> None:
        for key in ("cycles", "n_documents", "patience"):
            value = getattr(config, key)
            if value is not None and value < 1:
                raise RecipeError(f"It is {value}; it must be 1 or more.", where=f"curriculum.{key}")
        self.config = config

    @property
    def max_cycles(self) -> int:
        return self.config.cycles

    def select(self, state: CycleState) -> npt.NDArray[np.int64]:
        n = self.config.n_documents
        if n is None or n >= state.n_documents:
            return np.arange(state.n_documents, dtype=np.int64)
        rng = np.random.default_rng([state.seed, state.cycle if self.config.fresh else 0])
        return np.sort(rng.choice(state.n_documents, size=n, replace=False)).astype(np.int64)

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        if len(history) >= self.config.cycles:
            return False
        best = max(range(len(history)), key=lambda i: history[i].dev_p1)  # the first of equals
        return len(history) - 1 - best < self.config.patience
