"""The `cascade` teacher: a cheap teacher first, a strong one where the cheap one is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.teaching.stored_teacher import narrow
from lmteach.types import Judgement, Scope, Verdict


class CascadeTeacher:
    """Keeps the cheap teacher's score s where |s| >= `band`, else asks the strong one.

    Passed on is also what the cheap teacher could not read; where the strong one cannot read, the cheap score
    stands. Both should give log-odds, since their scores stand side by side. A verdict's details count the
    candidates `passed_on` and those of them that `fell_back`.
    """

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: cascade`.

        Attributes:
            cheap: the section of the teacher that is asked first.
            strong: the section of the one that is asked where the first is unsure.
            band: the cheap teacher is unsure below this distance from 0, in log-odds.
        """

        cheap: dict[str, Any] = field(default_factory=dict, metadata={"plugin": "teacher"})
        strong: dict[str, Any] = field(default_factory=dict, metadata={"plugin": "teacher"})
        band: float = 1.0

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        for key in ("cheap", "strong"):
            if not getattr(config, key).get("name"):
                raise TeacherError("A cascade needs a cheap and a strong teacher.", where=f"teacher.{key}")
        if not config.band >= 0:
            raise TeacherError("A band is 0 or wider.", where="teacher.band")
        self.band = config.band
        self.cheap: Teacher = resources.build(config.cheap)
        self.strong: Teacher = resources.build(config.strong)

    @property
    def members(self) -> tuple[Teacher, ...]:
        """The two teachers."""
        return (self.cheap, self.strong)

    @property
    def identity(self) -> str:
        """Both identities and the band."""
        return f"cascade band={self.band:g}: ({self.cheap.identity}) then ({self.strong.identity})"

    @property
    def scope(self) -> Scope:
        """Never stored itself: both teachers are."""
        return "none"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Ask the cheap teacher about all, the strong one about the unsure candidates."""
        first = self.cheap.judge(batch)
        unsure = [self._unsure(verdict) for verdict in first]
        asked = [i for i, places in enumerate(unsure) if places]
        second = self.strong.judge([narrow(batch[i], unsure[i]) for i in asked]) if asked else []
        verdicts = [replace(verdict, raw=(), details={"passed_on": 0, "fell_back": 0}) for verdict in first]
        for i, answer in zip(asked, second, strict=True):
            verdicts[i] = _merge(first[i], answer, unsure[i])
        return verdicts

    def n_missing(self, batch: Sequence[Judgement]) -> list[int]:
        """Return how many pairs both would have to judge; at most, where the cheap answer is yet to come."""
        totals = _missing(self.cheap, batch)
        look = getattr(self.cheap, "peek", None)
        known: Sequence[Verdict | None] = look(batch) if look else [None] * len(batch)
        unsure = [
            list(range(len(judgement.candidates))) if verdict is None else self._unsure(verdict)
            for judgement, verdict in zip(batch, known, strict=True)
        ]
        more = _missing(self.strong, [narrow(j, places) for j, places in zip(batch, unsure, strict=True)])
        return [a + b for a, b in zip(totals, more, strict=True)]

    def close(self) -> None:
        """Close both."""
        self.cheap.close()
        self.strong.close()

    def _unsure(self, verdict: Verdict) -> list[int]:
        return [i for i, score in enumerate(verdict.scores) if score is None or abs(score) < self.band]


def _merge(first: Verdict, second: Verdict, places: Sequence[int]) -> Verdict:
    scores, fell_back = list(first.scores), 0
    for place, score in zip(places, second.scores, strict=True):
        if score is None:
            fell_back += 1
        else:
            scores[place] = score
    details = {"passed_on": len(places), "fell_back": fell_back}
    return Verdict(tuple(scores), usage=first.usage + second.usage, details=details)


def _missing(teacher: Teacher, batch: Sequence[Judgement]) -> list[int]:
    count = getattr(teacher, "n_missing", None)
    return list(count(batch)) if count else [len(judgement.candidates) for judgement in batch]
