"""The curriculum `mixed`: a share of each cycle for coverage, the rest for what the student is least sure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmteach.curriculum.protocol import CycleState
from lmteach.errors import RecipeError
from lmteach_plugins.curricula.coverage import spread
from lmteach_plugins.curricula.growing import (
    GrowingConfig,
    GrowingCurriculum,
    Positions,
    draw_pool,
    draw_random,
)
from lmteach_plugins.curricula.uncertainty import margins


@dataclass
class MixedConfig(GrowingConfig):
    """Keys of `mixed`: those of the others, and the share that goes to `coverage`."""

    coverage: float = 0.5


class MixedCurriculum(GrowingCurriculum):
    """Uncertain documents lie close together; the other share keeps the rest of the corpus in sight."""

    Config = MixedConfig

    def __init__(self, config: MixedConfig) -> None:
        super().__init__(config)
        if not 0 <= config.coverage <= 1:
            raise RecipeError("It is a share: from 0 to 1.", where="curriculum.coverage")
        self.share = config.coverage

    def select(self, state: CycleState) -> Positions:
        n, pool = self.config.n_documents, draw_pool(self.config, state)
        if len(pool) <= n or state.vectors is None:
            return draw_random(pool, n, state)
        n_spread = n if state.probabilities is None else round(self.share * n)
        chosen = pool[spread(state, pool, n_spread)] if n_spread else pool[:0]
        if n_spread < n and state.probabilities is not None:
            rest = np.setdiff1d(pool, chosen)
            order = np.argsort(margins(state.probabilities(rest)), kind="stable")
            chosen = np.concatenate([chosen, rest[order[: n - n_spread]]])
        return np.sort(chosen)
