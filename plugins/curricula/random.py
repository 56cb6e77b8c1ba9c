"""The curriculum `random`: in each cycle some documents more, drawn by chance; the yardstick of the others."""

from __future__ import annotations

from collections.abc import Sequence

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach_plugins.curricula.growing import (
    GrowingConfig,
    Positions,
    draw_pool,
    draw_random,
    still_rising,
)


class RandomCurriculum:
    """Label `n_documents` by chance in each cycle, until the learning curve is flat."""

    Config = GrowingConfig

    def __init__(self, config: GrowingConfig) -> None:
        config.check()
        self.config = config

    @property
    def max_cycles(self) -> int:
        return self.config.cycles

    def select(self, state: CycleState) -> Positions:
        return draw_random(draw_pool(self.config, state), self.config.n_documents, state)

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        return still_rising(self.config, history)
