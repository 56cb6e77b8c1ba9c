"""What a teacher's verdicts are worth: how often it says yes, where, about which labels, and whether gold agrees.

Pairs of one document hang together, so every interval is over documents. Shape legend: n documents,
k candidates of each, best first, l labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.corpus.gold import Gold
from lmteach.errors import LmteachError
from lmteach.metrics.agreement import (
    UNREAD,
    YES,
    Rate,
    Votes,
    auc_by_document,
    compare_raters,
    rate,
    spearman,
    yes_rate_by_rank,
)
from lmteach.metrics.intervals import Interval
from lmteach.metrics.ranking import find_hits
from lmteach.teaching.annotations import AnnotationRule, Annotations, choose_positives
from lmteach.teaching.audit_intervals import ratios

Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Verdicts:
    """What a teacher said about n documents, and what is right.

    Attributes:
        label_ids_nk: the candidates, best by the student first; -1 = none.
        scores_nk: the teacher's; NaN = not read or not asked.
        judged_nk: where an answer came, read or not.
        votes_nk: what the annotation rule makes of the scores; unread also where nothing was asked.
        gold: of the same documents; None where there is none.
    """

    label_ids_nk: Ids
    scores_nk: Scores
    judged_nk: Bools
    votes_nk: Votes
    gold: Gold | None = None

    def __len__(self) -> int:
        return len(self.scores_nk)

    @property
    def right_nk(self) -> Bools:
        """Where the candidate is a gold label.

        Raises:
            LmteachError: there is no gold.
        """
        if self.gold is None:
            raise LmteachError("These documents have no gold labels.")
        return find_hits(self.label_ids_nk, self.gold)

    @property
    def read_nk(self) -> Bools:
        """Where an answer came that could be read."""
        read_nk: Bools = self.votes_nk != UNREAD
        return read_nk


def vote(scores_nk: Scores, label_ids_nk: Ids, judged_nk: Bools, rule: AnnotationRule) -> Votes:
    """Return yes, no or unread for each candidate, as the rule chooses positives among them."""
    ids_nk = label_ids_nk.astype(np.int64)
    return read_votes(choose_positives(scores_nk, ids_nk, judged_nk, rule), scores_nk, ids_nk, judged_nk)


def read_votes(
    annotations: Annotations, scores_nk: Scores, label_ids_nk: npt.NDArray[np.integer], judged_nk: Bools
) -> Votes:
    """Return the votes that led to a cycle's annotations."""
    chosen = Gold(annotations.indptr, annotations.label_ids)
    read_nk = judged_nk & ~np.isnan(scores_nk)
    said = find_hits(np.where(read_nk, label_ids_nk, -1), chosen).astype(np.int8)
    return np.where(read_nk, said, np.int8(UNREAD))


@dataclass(frozen=True)
class Overview:
    """How much was asked, read and affirmed. Intervals are over documents."""

    n_documents: int
    n_pairs: int
    n_unread: int
    unread_rate: float
    yes_rate: Interval
    n_without: int  # documents with a verdict and no yes


def look_over(verdicts: Verdicts, *, resamples: int = 1000, seed: int = 0) -> Overview:
    """Count a teacher's verdicts."""
    n_pairs, read_n = int(verdicts.judged_nk.sum()), verdicts.read_nk.sum(axis=1)
    yes_n = (verdicts.votes_nk == YES).sum(axis=1)
    yes = ratios({"yes": (yes_n, read_n)}, resamples, seed)["yes"]
    n_unread = n_pairs - int(read_n.sum())
    return Overview(
        n_documents=int(verdicts.judged_nk.any(axis=1).sum()),
        n_pairs=n_pairs,
        n_unread=n_unread,
        unread_rate=n_unread / n_pairs if n_pairs else float("nan"),
        yes_rate=yes,
        n_without=int((verdicts.judged_nk.any(axis=1) & (yes_n == 0)).sum()),
    )


@dataclass(frozen=True)
class RankRow:
    """One place of the shortlists: the teacher's yes-rate there, gold's, and the share of yes that is right."""

    rank: int
    yes: Rate
    gold: float | None
    precision: float | None
    mean_score: float


def by_rank(verdicts: Verdicts) -> list[RankRow]:
    """Look at each place of the shortlists, best first; places nobody was asked about are left out."""
    right_nk = None if verdicts.gold is None else verdicts.right_nk
    rows = []
    for place, yes in enumerate(yes_rate_by_rank(verdicts.votes_nk)):
        asked = verdicts.judged_nk[:, place]
        if not asked.any():
            continue
        said = verdicts.votes_nk[:, place] == YES
        read = verdicts.read_nk[:, place]
        gold = None if right_nk is None else float(right_nk[asked, place].mean())
        precision = None if right_nk is None or not said.any() else float(right_nk[said, place].mean())
        scores = verdicts.scores_nk[read, place]
        mean_score = float(scores.astype(np.float64).mean()) if len(scores) else float("nan")
        unread = yes.n_unread - int((~asked).sum())
        rows.append(
            RankRow(place + 1, Rate(yes.n_yes, yes.n_read, unread, yes.interval), gold, precision, mean_score)
        )
    return rows


@dataclass(frozen=True)
class TeacherComparison:
    """Another teacher, prompt or model against the audited one, over the pairs that both were asked about.

    Attributes:
        name: what is compared.
        n_pairs: pairs both have a verdict on.
        agreed: share of those both read on which they say the same.
        kappa: beyond chance.
        spearman: of the scores.
        yes, other_yes: their yes-rates.
        auc, other_auc: against gold, within documents; None without gold.
    """

    name: str
    n_pairs: int
    agreed: Rate
    kappa: float
    spearman: float
    yes: Rate
    other_yes: Rate
    auc: float | None
    other_auc: float | None


def compare_teachers(verdicts: Verdicts, other: Verdicts, name: str) -> TeacherComparison | None:
    """Compare two teachers on the same candidates of the same documents; None where they share no pair.

    Raises:
        LmteachError: the two are not about the same candidates.
    """
    if not np.array_equal(verdicts.label_ids_nk, other.label_ids_nk):
        raise LmteachError("The two teachers were not asked about the same candidates.")
    both = verdicts.judged_nk & other.judged_nk
    if not both.any():
        return None
    mine, theirs = verdicts.votes_nk[both], other.votes_nk[both]
    compared = compare_raters(mine, theirs)
    a, b = (v.scores_nk[both].astype(np.float64) for v in (verdicts, other))
    areas: list[float | None] = [None, None]
    if verdicts.gold is not None:
        right, row = verdicts.right_nk[both], np.nonzero(both)[0]
        areas = [_finite_mean(auc_by_document(scores, right, row)) for scores in (a, b)]
    return TeacherComparison(
        name,
        int(both.sum()),
        compared.agreed,
        compared.kappa,
        spearman(a, b),
        rate(mine),
        rate(theirs),
        *areas,
    )


def _finite_mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
