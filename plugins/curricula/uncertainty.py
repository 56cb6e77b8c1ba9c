"""The curriculum `uncertainty`: documents that the last cycle's student is least sure of (margin sampling)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach_plugins.curricula.growing import (
    GrowingConfig,
    Positions,
    draw_pool,
    draw_random,
    still_rising,
)


class UncertaintyCurriculum:
    """The first cycle by chance, then those with the least lead of the best class over the second.

    Where several classes may apply, those whose class nearest to one half is nearest.
    """

    Config = GrowingConfig

    def __init__(self, config: GrowingConfig) -> None:
        config.check()
        self.config = config

    @property
    def max_cycles(self) -> int:
        return self.config.cycles

    def select(self, state: CycleState) -> Positions:
        pool = draw_pool(self.config, state)
        if state.probabilities is None or len(pool) <= self.config.n_documents:
            return draw_random(pool, self.config.n_documents, state)
        order = np.argsort(margins(state.probabilities(pool)), kind="stable")
        return np.sort(pool[order[: self.config.n_documents]])

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        return still_rising(self.config, history)


def margins(p_nC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how sure a student is of each document; 0 = not at all."""
    sums_to_one = np.allclose(p_nC.sum(axis=1), 1.0, atol=1e-3)
    if not sums_to_one:
        return np.asarray(np.abs(2 * p_nC - 1).min(axis=1))
    ordered = np.sort(p_nC, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
