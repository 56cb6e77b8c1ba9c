"""A teacher's verdicts against gold: accuracy, precision, recall, kappa, AUC, each with an interval over documents.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmteach.metrics.agreement import YES
from lmteach.metrics.intervals import Interval
from lmteach.teaching.audit import Verdicts
from lmteach.teaching.audit_intervals import kappa_interval, mean_auc_interval, pooled_auc_interval, ratios


@dataclass(frozen=True)
class GoldAgreement:
    """A teacher against gold, over the candidates it was asked about and could be read on.

    Attributes:
        accuracy, precision, recall: of its yes; recall over the gold labels among the candidates.
        kappa: Cohen's, beyond what the two yes-rates give.
        auc: chance that a gold candidate is scored above another one, over all pairs of candidates.
        auc_by_document: the same within a document, averaged: what ranking needs.
        student_auc_by_document: of the student's order: what the teacher has to beat.
        p1: share of documents whose best-scored candidate is gold.
        student_p1: the same of the student's first candidate.
        candidates_recall: share of all gold labels that were among the candidates: the ceiling.
    """

    accuracy: Interval
    precision: Interval
    recall: Interval
    kappa: Interval
    auc: Interval
    auc_by_document: Interval
    student_auc_by_document: Interval
    p1: Interval
    student_p1: Interval
    candidates_recall: Interval


def compare_with_gold(verdicts: Verdicts, *, resamples: int = 1000, seed: int = 0) -> GoldAgreement | None:
    """Hold a teacher against gold; None where no document has both.

    Raises:
        LmteachError: there is no gold.
    """
    right_nk, read_nk = verdicts.right_nk, verdicts.read_nk
    assert verdicts.gold is not None
    n_gold_n = np.diff(verdicts.gold.indptr)
    rows = np.flatnonzero(read_nk.any(axis=1) & (n_gold_n > 0))
    if not len(rows):
        return None
    right_nk, read_nk, yes_nk = right_nk[rows], read_nk[rows], verdicts.votes_nk[rows] == YES
    scores_nk = np.where(read_nk, verdicts.scores_nk[rows], np.nan).astype(np.float64)
    agree_n = ((yes_nk == right_nk) & read_nk).sum(axis=1)
    hits_n, gold_n = (yes_nk & right_nk).sum(axis=1), (right_nk & read_nk).sum(axis=1)
    best = np.where(read_nk, scores_nk, -np.inf).argmax(axis=1)
    found = ratios(
        {
            "accuracy": (agree_n, read_nk.sum(axis=1)),
            "precision": (hits_n, yes_nk.sum(axis=1)),
            "recall": (hits_n, gold_n),
            "p1": (right_nk[np.arange(len(rows)), best], np.ones(len(rows))),
            "student_p1": (right_nk[:, 0], np.ones(len(rows))),
            "candidates_recall": (right_nk.sum(axis=1), n_gold_n[rows]),
        },
        resamples,
        seed,
    )
    order_nk = -np.broadcast_to(np.arange(scores_nk.shape[1], dtype=np.float64), scores_nk.shape)
    return GoldAgreement(
        kappa=kappa_interval(yes_nk, right_nk, read_nk, resamples, seed),
        auc=pooled_auc_interval(scores_nk, right_nk, read_nk, resamples, seed),
        auc_by_document=mean_auc_interval(scores_nk, right_nk, read_nk, resamples, seed),
        student_auc_by_document=mean_auc_interval(order_nk, right_nk, read_nk, resamples, seed),
        **found,
    )
