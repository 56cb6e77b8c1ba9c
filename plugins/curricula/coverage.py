"""The curriculum `coverage`: documents far from all that are labelled (k-centre greedy, Sener and Savarese 2018)."""

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

Vectors = npt.NDArray[np.float32]


class CoverageCurriculum(GrowingCurriculum):
    """Each next document is the one farthest from its nearest labelled one, by the untuned student's vectors."""

    def select(self, state: CycleState) -> Positions:
        pool = draw_pool(self.config, state)
        if state.vectors is None or len(pool) <= self.config.n_documents:
            return draw_random(pool, self.config.n_documents, state)
        return np.sort(pool[spread(state, pool, self.config.n_documents)])


def spread(state: CycleState, pool: Positions, n: int) -> npt.NDArray[np.int64]:
    """Return the rows of `pool` that k-centre greedy takes, given what is labelled."""
    assert state.vectors is not None
    vectors = state.vectors(np.concatenate([state.labelled, pool]))
    return k_centre(vectors[len(state.labelled) :], vectors[: len(state.labelled)], n, state.seed)


def k_centre(pool_nD: Vectors, centres_mD: Vectors, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return n rows of `pool_nD`, each in turn the one least like the centres so far; the first of all by chance.

    Args:
        pool_nD: unit vectors to choose from.
        centres_mD: unit vectors that are covered already.
    """
    chosen: list[int] = []
    nearest_n = np.full(len(pool_nD), -np.inf, np.float32)  # cosine to the nearest centre
    for start in range(0, len(centres_mD), 1024):
        nearest_n = np.maximum(nearest_n, (pool_nD @ centres_mD[start : start + 1024].T).max(axis=1))
    while len(chosen) < min(n, len(pool_nD)):
        if not chosen and not len(centres_mD):
            row = int(np.random.default_rng([seed, *b"first"]).integers(len(pool_nD)))
        else:
            row = int(nearest_n.argmin())
        chosen.append(row)
        nearest_n = np.maximum(nearest_n, pool_nD @ pool_nD[row])
        nearest_n[chosen] = np.inf  # never twice, even where texts are alike
    return np.asarray(chosen, dtype=np.int64)
