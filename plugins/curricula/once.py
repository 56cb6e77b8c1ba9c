"""One cycle over a random subset: label, train, done (LlamBERT's way)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach.errors import RecipeError


class OnceCurriculum:
    """Label `n_documents` drawn at random, train once."""

    @dataclass
    class Config:
        """`n_documents` to label; None = all."""

        n_documents: int | None = None

    def __init__(self, config: Config) -> None:
        if config.n_documents is not None and config.n_documents < 1:
            raise RecipeError(
                f"It is {config.n_documents}; it must be 1 or more.", where="curriculum.n_documents"
            )
        self.config = config

    @property
    def max_cycles(self) -> int:
        return 1

    def select(self, state: CycleState) -> npt.NDArray[np.int64]:
        n = self.config.n_documents
        if n is None or n >= state.n_documents:
            return np.arange(state.n_documents, dtype=np.int64)
        rng = np.random.default_rng([state.seed])
        return np.sort(rng.choice(state.n_documents, size=n, replace=False)).astype(np.int64)

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        return False
