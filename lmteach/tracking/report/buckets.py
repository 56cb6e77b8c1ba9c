"""Labels by how often they occur in training gold, and how each kind of student finds frequent and rare ones.

Shape legend: n documents, k places, l labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.metrics.ranking import find_hits
from lmteach.tracking.test_scores import TestScores

SHARES = (("head", 0.5), ("torso", 0.8), ("tail", 1.0))
"""Up to which share of all training occurrences a bucket reaches, the most frequent labels first."""


@dataclass(frozen=True)
class Bucket:
    """Labels of like frequency.

    Attributes:
        name: head, torso or tail.
        n_labels: labels in it.
        least, most: training documents that carry one of them.
        n_gold: how often they are gold in the test documents.
        recall: by student, the share of those that stand among the first `k` places of their document.
        found: by student, the share of the bucket's labels with test gold that were found at least once.
        k: the deepest place looked at.
    """

    name: str
    n_labels: int
    least: int
    most: int
    n_gold: int
    recall: dict[str, float]
    found: dict[str, float]
    k: int


def split_by_frequency(scores: TestScores) -> list[Bucket]:
    """Return head, torso and tail; nothing where training gold or rankings are missing.

    Labels are sorted by training frequency. The head holds the most frequent ones that make up half of all
    occurrences, the torso the next three tenths, the tail the rest, with labels that never occur in training.
    """
    counts_l = scores.label_counts_l
    if not len(counts_l) or not counts_l.sum() or not scores.label_ids:
        return []
    bucket_l = assign_buckets(counts_l)
    k = next(iter(scores.label_ids.values())).shape[1]
    hits = {student: find_hits(ids_nk, scores.gold) for student, ids_nk in scores.label_ids.items()}
    gold_bucket = bucket_l[scores.gold.ids]
    buckets = []
    for number, (name, _) in enumerate(SHARES):
        members = np.flatnonzero(bucket_l == number)
        n_gold = int((gold_bucket == number).sum())
        present = np.unique(scores.gold.ids[gold_bucket == number])
        recall, found = {}, {}
        for student, hits_nk in hits.items():
            right = scores.label_ids[student][hits_nk]
            right = right[bucket_l[right] == number]
            recall[student] = len(right) / n_gold if n_gold else float("nan")
            found[student] = len(np.unique(right)) / len(present) if len(present) else float("nan")
        used = counts_l[members]
        buckets.append(
            Bucket(
                name,
                len(members),
                int(used.min()) if len(used) else 0,
                int(used.max()) if len(used) else 0,
                n_gold,
                recall,
                found,
                k,
            )
        )
    return buckets


def assign_buckets(counts_l: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each label's bucket, [l], as a place in `SHARES`; equal counts stand in order of label id.

    A label belongs to the bucket in which its first occurrence falls when all are laid end to end.
    """
    order = np.argsort(-counts_l, kind="stable")
    before = np.cumsum(counts_l[order]) - counts_l[order]
    bounds = np.array([share for _, share in SHARES[:-1]]) * counts_l.sum()
    bucket_l = np.empty(len(counts_l), dtype=np.int64)
    bucket_l[order] = np.searchsorted(bounds, before, side="right")
    bucket_l[counts_l == 0] = len(SHARES) - 1
    return bucket_l
