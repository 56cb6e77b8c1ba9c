"""The `ensemble` teacher: several teachers, and the student if wanted, in one voice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmteach.errors import TeacherError
from lmteach.teaching.cost import total_usage
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.types import Judgement, Scope, Verdict

Scores = Sequence[float | None]


class EnsembleTeacher:
    """Adds up its members' scores, each standardised within the document.

    With s_mj member m's score of candidate j, over the candidates it could read: z_mj = (s_mj - mean_m) /
    sd_m, 0 where all are alike or where it could not read; score_j = sum_m w_m z_mj. None where no member
    could read. Standardised scores compare the candidates of one document: they need several, and their zero
    is the shortlist's mean, so choose positives by `quantile` or `top` rather than at 0.
    """

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: ensemble`.

        Attributes:
            members: the sections of the teachers, as a recipe's `teacher:`.
            weights: one a member; none = all 1.
            student_weight: weight of the student's own score of each candidate; 0 = it has no say.
            standardise: `document` as above; `none` adds raw scores, for members that all give log-odds.
        """

        members: list[dict[str, Any]] = field(default_factory=list, metadata={"plugin": "teacher"})
        weights: list[float] = field(default_factory=list)
        student_weight: float = 0.0
        standardise: Literal["document", "none"] = "document"

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        if not config.members:
            raise TeacherError("An ensemble needs members.", where="teacher.members")
        if config.weights and len(config.weights) != len(config.members):
            counts = f"{len(config.weights)} weights for {len(config.members)} members"
            raise TeacherError(f"There are {counts}.", where="teacher.weights")
        weights = list(config.weights) or [1.0] * len(config.members)
        if not all(math.isfinite(w) for w in (*weights, config.student_weight)) or not any(weights):
            raise TeacherError("Weights are finite and not all 0.", where="teacher.weights")
        if config.standardise not in ("document", "none"):
            raise TeacherError(f"There is no '{config.standardise}'.", where="teacher.standardise")
        self.config, self.weights = config, weights
        self.members: tuple[Teacher, ...] = tuple(resources.build(section) for section in config.members)

    @property
    def identity(self) -> str:
        """The members' identities with their weights."""
        parts = [f"{w:g} * ({m.identity})" for w, m in zip(self.weights, self.members, strict=True)]
        if self.config.student_weight:
            parts.append(f"{self.config.student_weight:g} * student")
        return f"ensemble standardise={self.config.standardise}: {' + '.join(parts)}"

    @property
    def scope(self) -> Scope:
        """Never stored itself: its members are, and the student's scores change from cycle to cycle."""
        return "none"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Ask every member, and add up.

        Raises:
            TeacherError: the student has a weight, but a judgement comes without its scores.
        """
        if self.config.student_weight:
            for judgement in batch:
                _check_student(judgement)
        answers = [member.judge(batch) for member in self.members]
        return [
            self._combine(judgement, [verdicts[i] for verdicts in answers])
            for i, judgement in enumerate(batch)
        ]

    def n_missing(self, batch: Sequence[Judgement]) -> list[int]:
        """Return how many pairs of each judgement its members would have to judge."""
        totals = [0] * len(batch)
        for member in self.members:
            count = getattr(member, "n_missing", None)
            missing = count(batch) if count else [len(judgement.candidates) for judgement in batch]
            totals = [a + b for a, b in zip(totals, missing, strict=True)]
        return totals

    def close(self) -> None:
        """Close all members."""
        for member in self.members:
            member.close()

    def _combine(self, judgement: Judgement, verdicts: Sequence[Verdict]) -> Verdict:
        rows: list[Scores] = [verdict.scores for verdict in verdicts]
        read = [any(row[j] is not None for row in rows) for j in range(len(judgement.candidates))]
        weights = list(self.weights)
        if self.config.student_weight:
            rows.append(judgement.student_scores)
            weights.append(self.config.student_weight)
        if self.config.standardise == "document":
            rows = [standardise(row) for row in rows]
        totals = [
            sum(w * (row[j] or 0.0) for w, row in zip(weights, rows, strict=True)) if read[j] else None
            for j in range(len(judgement.candidates))
        ]
        details = {
            f"{name}_{m}": value
            for m, verdict in enumerate(verdicts)
            for name, value in verdict.details.items()
        }
        return Verdict(tuple(totals), usage=total_usage(verdicts), details=details)


def standardise(scores: Scores) -> list[float | None]:
    """Return z-scores over what was read: mean 0, standard deviation 1; all 0 where all are alike."""
    known = [score for score in scores if score is not None]
    if not known:
        return [None] * len(scores)
    mean = math.fsum(known) / len(known)
    sd = math.sqrt(math.fsum((score - mean) ** 2 for score in known) / len(known))
    if sd <= 1e-9 * max(1e-9, abs(mean)):  # alike but for rounding
        return [None if score is None else 0.0 for score in scores]
    return [None if score is None else (score - mean) / sd for score in scores]


def _check_student(judgement: Judgement) -> None:
    if len(judgement.student_scores) != len(judgement.candidates):
        raise TeacherError(
            "The ensemble's student_weight wants the student's scores, which this judgement does not bring.",
            where=f"document {judgement.document_id or repr(judgement.document[:40])}",
            mend="Set teacher.student_weight=0, or judge shortlists that a student has made.",
        )
