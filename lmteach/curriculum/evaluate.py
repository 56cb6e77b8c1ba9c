"""Held-out gold against a student's ranking, and the teacher's own labels against gold. Read after training only.

Shape legend: n documents, k labels of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.curriculum.shortlisting import build_index, encode_documents
from lmteach.metrics.intervals import Interval, PairedDifference, bootstrap_intervals, paired_bootstrap
from lmteach.metrics.ranking import RankingScores, find_hits, label_counts, propensities, score_ranking

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents, Gold
    from lmteach.search.protocol import Searcher
    from lmteach.students.protocol import Encoder

LEAST_FOR_PROPENSITIES = 3  # training documents
SEARCHED_AT_ONCE = 4096  # documents, between two steps of a progress bar


def rank_labels(
    context: RunContext, encoder: Encoder, documents: Documents, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return each document's k nearest labels by `encoder`, best first, with their cosines.

    Several ranks encode a part each; the first searches for all, and the others return nothing.
    """
    searcher = build_index(context, encoder)
    rows = np.arange(len(documents), dtype=np.int64)
    vectors = encode_documents(context, encoder, documents, rows, "encode test documents")
    if not context.ranks.is_first:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    return search_in_parts(context, searcher, vectors, k)


def search_in_parts(
    context: RunContext, searcher: Searcher, vectors_nD: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Search with progress; the result is that of one search."""
    expect = getattr(searcher, "expect", None)
    if expect is not None:
        expect(len(vectors_nD))
    ids, scores = [], []
    with context.console.stage("search", len(vectors_nD), unit="docs") as stage:
        for start in range(0, max(1, len(vectors_nD)), SEARCHED_AT_ONCE):
            part = vectors_nD[start : start + SEARCHED_AT_ONCE]
            found_ids, found_scores = searcher.search(part, k)
            ids.append(found_ids)
            scores.append(found_scores)
            stage.advance(len(part))
    return np.concatenate(ids), np.concatenate(scores)


def score_labels(
    context: RunContext,
    label_ids_nk: npt.NDArray[np.integer],
    documents: Documents,
    counted: LabelCounts | None = None,
) -> RankingScores:
    """Score rankings of documents whose gold may be read; with propensities where labels were counted.

    Raises:
        RunError: the documents' gold is under seal.
    """
    settings, n_labels = context.recipe.evaluation, len(context.corpus.labels)
    weights = None
    if counted is not None and counted.n_documents >= LEAST_FOR_PROPENSITIES:
        weights = propensities(
            counted.counts_l, counted.n_documents, settings.propensity_a, settings.propensity_b
        )
    return score_ranking(label_ids_nk, documents.gold, settings.ks, n_labels=n_labels, propensities_l=weights)


@dataclass(frozen=True)
class LabelCounts:
    """How many documents of the whole training split carry each label, [l], and how many documents there are."""

    counts_l: npt.NDArray[np.int64]
    n_documents: int


def count_train_labels(context: RunContext) -> LabelCounts | None:
    """Count the gold of the whole training split, whatever part of it a run learns from; None without gold."""
    split = context.corpus.train.whole_split()
    if not split.has_gold:
        return None
    return LabelCounts(label_counts(split.gold, len(context.corpus.labels)), len(split))


def intervals(context: RunContext, scores: RankingScores) -> dict[str, Interval]:
    """Return the 95% bootstrap interval of each metric over documents."""
    settings = context.recipe.evaluation
    return bootstrap_intervals(scores.values, resamples=settings.resamples, seed=context.recipe.seed)


def compare(context: RunContext, before: RankingScores, after: RankingScores) -> dict[str, PairedDifference]:
    """Return the paired bootstrap of `after` against `before` on the same documents."""
    settings = context.recipe.evaluation
    return paired_bootstrap(
        before.values, after.values, resamples=settings.resamples, seed=context.recipe.seed
    )


@dataclass(frozen=True)
class TeacherScores:
    """A teacher's verdicts on training documents, against their gold.

    Attributes:
        p1: share of documents whose best-scored candidate is gold.
        student_p1: the same of the student's first candidate: what the teacher had to beat.
        found: share of gold labels that were among the candidates: the ceiling.
        n_documents: documents with gold and a verdict.
    """

    p1: float
    student_p1: float
    found: float
    n_documents: int


def score_teacher(judged: JudgedShortlist, gold: Gold) -> TeacherScores | None:
    """Score verdicts against the gold of the same n documents; None where none has both."""
    read_nk = judged.judged_nk & ~np.isnan(judged.scores_nk)
    n_gold = np.diff(gold.indptr)
    rows = np.flatnonzero(read_nk.any(axis=1) & (n_gold > 0))
    if not len(rows):
        return None
    hits_nk = find_hits(judged.label_ids_nk, gold)[rows]
    best = np.where(read_nk[rows], judged.scores_nk[rows], -np.inf).argmax(axis=1)
    return TeacherScores(
        p1=float(hits_nk[np.arange(len(rows)), best].mean()),
        student_p1=float(hits_nk[:, 0].mean()),
        found=float(hits_nk.sum() / n_gold[rows].sum()),
        n_documents=len(rows),
    )
