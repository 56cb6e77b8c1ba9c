"""The curriculum `uncertainty`: documents that the last cycle's student is least sure of (margin sampling)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleState
from lmteach_plugins.curricula.growing import (
    GrowingCurriculum,
    Positions,
    draw_pool,
    draw_random,
)


class UncertaintyCurriculum(GrowingCurriculum):
    """The first cycle by chance, then those with the least lead of the best class over the second.

    Where several classes may apply, those whose class nearest to one half is nearest.
    """

    def select(self, state: CycleState) -> Positions:
        pool = draw_pool(self.config, state)
        if state.probabilities is None or len(pool) <= self.config.n_documents:
            return draw_random(pool, self.config.n_documents, state)
        order = np.argsort(margins(state.probabilities(pool)), kind="stable")
        return np.sort(pool[order[: self.config.n_documents]])


def margins(p_nC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how sure a student is of each document; 0 = not at all."""
    sums_to_one = np.allclose(p_nC.sum(axis=1), 1.0, atol=1e-3)
    if not sums_to_one:
        return np.asarray(np.abs(2 * p_nC - 1).min(axis=1))
    ordered = np.sort(p_nC, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
