"""The `random` teacher: chance. The floor that any teacher must beat, and quick while trying a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmteach.errors import TeacherError
from lmteach.teaching.chance import chance
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Judgement, Scope, Verdict


class RandomTeacher:
    """Log-odds drawn by (seed, document, candidate), so that the same question gets the same answer.

    Scores follow the logistic distribution, moved so that the share `yes_rate` lies above 0.
    """

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: random`.

        Attributes:
            yes_rate: share of scores above 0.
            unread: share of answers that cannot be read.
            seed: decides all; None = the run's seed.
        """

        yes_rate: float = 0.5
        unread: float = 0.0
        seed: int | None = None

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        if not 0 < config.yes_rate < 1:
            raise TeacherError("A yes-rate lies between 0 and 1.", where="teacher.yes_rate")
        if not 0 <= config.unread <= 1:
            raise TeacherError("A share lies between 0 and 1.", where="teacher.unread")
        self.config = config
        self.seed = resources.seed if config.seed is None else config.seed

    @property
    def identity(self) -> str:
        """The seed and the rates."""
        return f"random yes_rate={self.config.yes_rate:g} unread={self.config.unread:g} seed={self.seed}"

    @property
    def scope(self) -> Scope:
        """Never stored: it costs nothing."""
        return "none"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Answer by chance."""
        return [Verdict(tuple(self._score(j.document, c) for c in j.candidates)) for j in batch]

    def close(self) -> None:
        """Nothing to free."""

    def _score(self, document: str, candidate: str) -> float | None:
        if chance(self.seed, "unread", document, candidate) < self.config.unread:
            return None
        drawn = min(max(chance(self.seed, "score", document, candidate), 1e-12), 1 - 1e-12)
        return math.log(drawn / (1 - drawn)) - math.log(1 / self.config.yes_rate - 1)
