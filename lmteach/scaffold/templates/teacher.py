"""The `mine` teacher: a label fits a document in which its words stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Judgement, Scope, Verdict

_WORD = re.compile(r"\w+")


class MineTeacher:
    """Log-odds that rise with the share of a label's words that the document holds."""

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: mine`.

        Attributes:
            none: log-odds of a label without any of its words in the document.
            all: log-odds of a label with all its words there.
        """

        none: float = -4.0
        all: float = 4.0

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        if config.all <= config.none:
            raise TeacherError("The log-odds of `all` must be above those of `none`.", where="teacher.all")
        self.config = config

    @property
    def identity(self) -> str:
        """All that decides a score; raise the version whenever the code below scores otherwise."""
        return f"mine v1 none={self.config.none:g} all={self.config.all:g}"

    @property
    def scope(self) -> Scope:
        """Each score depends on its document and candidate alone, so the store may keep it for every run."""
        return "pair"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Answer every judgement, in order; None for a label without a word."""
        return [self._verdict(judgement) for judgement in batch]

    def close(self) -> None:
        """Free what was loaded; here nothing."""

    def _verdict(self, judgement: Judgement) -> Verdict:
        there = set(_WORD.findall(judgement.document.lower()))
        return Verdict(tuple(self._score(there, candidate) for candidate in judgement.candidates))

    def _score(self, there: set[str], candidate: str) -> float | None:
        words = set(_WORD.findall(candidate.lower()))
        if not words:
            return None
        share = len(words & there) / len(words)
        return self.config.none + share * (self.config.all - self.config.none)
