"""The curriculum `random`: in each cycle some documents more, drawn by chance; the yardstick of the others."""

from __future__ import annotations

from lmteach.curriculum.protocol import CycleState
from lmteach_plugins.curricula.growing import (
    GrowingCurriculum,
    Positions,
    draw_pool,
    draw_random,
)


class RandomCurriculum(GrowingCurriculum):
    """Label `n_documents` by chance in each cycle, until the learning curve is flat."""

    def select(self, state: CycleState) -> Positions:
        return draw_random(draw_pool(self.config, state), self.config.n_documents, state)
