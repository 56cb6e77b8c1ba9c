"""Ranking metrics of extreme multi-label classification, vectorised, with a value for each document.

Shape legend: n documents, k places of a ranking, l labels.

Common rules. `predicted_ids_nk` holds label ids, best first; -1 is an empty place and a miss, and so is a
label's second appearance in one ranking. P@k divides by k even where a document has fewer than k labels or
the ranking fewer than k places. Documents without gold have no defined value: they are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.corpus.corpus import Gold
from lmteach.errors import LmteachError
from lmteach.metrics.values import Floats, PerDocument

_CHUNK = 1 << 22  # places looked at in one go, so that 10^6 documents need no more memory than 10^4


@dataclass(frozen=True)
class RankingScores:
    """What a ranking scored against gold.

    Attributes:
        values: per-document values by key: `p@k`, `r@k`, `ndcg@k` and, given propensities, `psp@k`,
            `psndcg@k`; in the order of the documents that have gold.
        coverage: `coverage@k` and `used@k`; see `coverage`. They are no means over documents, so they have no
            per-document values.
        n_documents: documents with gold, the ones scored.
        n_without_gold: documents left out for want of gold.
    """

    values: dict[str, PerDocument]
    coverage: dict[str, float]
    n_documents: int
    n_without_gold: int

    def means(self) -> dict[str, float]:
        """Return every metric as one number, coverage included."""
        return {**{name: value.mean() for name, value in self.values.items()}, **self.coverage}


def score_ranking(
    predicted_ids_nk: npt.NDArray[np.integer],
    gold: Gold,
    ks: Sequence[int] = (1, 3, 5, 10),
    *,
    n_labels: int | None = None,
    propensities_l: Floats | None = None,
) -> RankingScores:
    """Score rankings against gold.

    P@k = |top-k and gold| / k. R@k = |top-k and gold| / |gold|. nDCG@k has gain 1 a gold label, discount
    1 / log2(place + 1), and is divided by what a perfect ranking of min(k, |gold|) labels earns. PSP@k and
    PSnDCG@k (Jain et al. 2016) weigh a hit by 1 / propensity, and divide the sum over all documents by the
    same sum for the best possible rankings, as the extreme classification repository's tables do; before
    that, a document's PSDCG is divided by its unweighted ideal DCG.

    Args:
        predicted_ids_nk: [n, places] label ids, best first, -1 = empty.
        gold: the n documents' gold label ids.
        ks: the depths to report.
        n_labels: l, for `used@k`; without it that key is left out.
        propensities_l: [l], from `propensities`; without them `psp@k` and `psndcg@k` are left out.

    Raises:
        LmteachError: shapes do not fit, a depth is below 1, or a gold id lies beyond the propensities.
    """
    predicted, ks = _checked(predicted_ids_nk, gold, ks)
    n_gold = np.diff(gold.indptr)
    scored = np.flatnonzero(n_gold > 0)
    hits = find_hits(predicted[:, : max(ks)], gold)
    values = _plain_values(hits[scored], n_gold[scored], ks)
    if propensities_l is not None:
        values |= _propensity_values(predicted, hits, gold, scored, ks, _inverse(propensities_l, gold))
    return RankingScores(
        values, coverage(predicted, gold, ks, n_labels=n_labels), len(scored), len(gold) - len(scored)
    )


def find_hits(predicted_ids_nk: npt.NDArray[np.integer], gold: Gold) -> npt.NDArray[np.bool_]:
    """Return [n, k], True where the id is a gold label of its document, and there for the first time."""
    n, k = predicted_ids_nk.shape
    hits = np.zeros((n, k), dtype=bool)
    if not len(gold.ids) or not k:
        return hits
    n_ids = int(max(gold.ids.max(), predicted_ids_nk.max(initial=-1))) + 1
    rows = max(1, _CHUNK // k)
    for start in range(0, n, rows):
        ids = predicted_ids_nk[start : start + rows].astype(np.int64)
        stop = start + len(ids)
        gold_ids = gold.ids[gold.indptr[start] : gold.indptr[stop]]
        if not len(gold_ids):
            continue
        sizes = np.diff(gold.indptr[start : stop + 1])
        gold_keys = np.sort(np.repeat(np.arange(len(ids)), sizes) * n_ids + gold_ids)
        keys = np.arange(len(ids))[:, None] * n_ids + ids
        places = np.minimum(np.searchsorted(gold_keys, keys), len(gold_keys) - 1)
        hits[start:stop] = (gold_keys[places] == keys) & (ids >= 0) & ~_repeats(ids)
    return hits


def coverage(
    predicted_ids_nk: npt.NDArray[np.integer], gold: Gold, ks: Sequence[int], *, n_labels: int | None = None
) -> dict[str, float]:
    """Return how much of the label set a ranking reaches.

    `coverage@k`: of the labels that are some document's gold, the share that stands among the first k places
    of at least one document whose gold it is (predicted right at least once). nan where there is no gold.
    `used@k`: of all `n_labels` labels, the share that stands among the first k places of any document, right
    or wrong.
    """
    gold_labels = np.unique(gold.ids)
    hits = find_hits(predicted_ids_nk[:, : max(ks)], gold)
    shares: dict[str, float] = {}
    for k in ks:
        found = np.unique(predicted_ids_nk[:, :k][hits[:, :k]])
        shares[f"coverage@{k}"] = len(found) / len(gold_labels) if len(gold_labels) else float("nan")
        if n_labels is not None:
            used = np.unique(predicted_ids_nk[:, :k])
            shares[f"used@{k}"] = int((used >= 0).sum()) / n_labels
    return shares


def propensities(
    label_counts_l: npt.NDArray[np.integer], n_documents: int, a: float = 0.55, b: float = 1.5
) -> Floats:
    """Return each label's propensity, the chance that a true label was recorded (Jain et al. 2016).

    p = 1 / (1 + C (N_l + B)^-A), C = (ln N - 1)(B + 1)^A. The paper's (A, B) are (0.55, 1.5) in general,
    (0.6, 2.6) on Amazon's sets and (0.5, 0.4) on Wikipedia's.

    Args:
        label_counts_l: [l], N_l: training documents that carry each label.
        n_documents: N, training documents.
        a: A of the formula.
        b: B of the formula.

    Raises:
        LmteachError: fewer than 3 documents, for which the formula has no meaning (ln N below 1).
    """
    if n_documents < 3:
        raise LmteachError(f"Propensities need at least 3 training documents, not {n_documents}.")
    c = (np.log(n_documents) - 1.0) * (b + 1.0) ** a
    inverse = 1.0 + c * (np.asarray(label_counts_l, dtype=np.float64) + b) ** -a
    return np.asarray(1.0 / inverse, dtype=np.float64)


def label_counts(gold: Gold, n_labels: int) -> npt.NDArray[np.int64]:
    """Return [l], the number of documents that carry each label."""
    return np.bincount(gold.ids, minlength=n_labels).astype(np.int64)


def _plain_values(
    hits_nk: npt.NDArray[np.bool_], n_gold_n: npt.NDArray[np.int64], ks: Sequence[int]
) -> dict[str, PerDocument]:
    discounts = _discounts(max(ks))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    values: dict[str, PerDocument] = {}
    for k in ks:
        n_hits = hits_nk[:, :k].sum(axis=1).astype(np.float64)
        gains = hits_nk[:, :k] @ discounts[: min(k, hits_nk.shape[1])]
        values[f"p@{k}"] = PerDocument(n_hits / k)
        values[f"r@{k}"] = PerDocument(n_hits / n_gold_n)
        values[f"ndcg@{k}"] = PerDocument(gains / ideal[np.minimum(n_gold_n, k)])
    return values


def _propensity_values(
    predicted_ids_nk: npt.NDArray[np.integer],
    hits_nk: npt.NDArray[np.bool_],
    gold: Gold,
    scored: npt.NDArray[np.intp],
    ks: Sequence[int],
    weights_l: Floats,
) -> dict[str, PerDocument]:
    deepest = max(ks)
    discounts = _discounts(deepest)
    unweighted = np.concatenate([[0.0], np.cumsum(discounts)])
    n_gold = np.diff(gold.indptr)[scored]
    earned = np.zeros((len(scored), deepest))
    ids, hits = predicted_ids_nk[scored, :deepest], hits_nk[scored]
    earned[:, : ids.shape[1]][hits] = weights_l[ids[hits]]
    best = _best_weights(gold, weights_l, deepest)[scored]
    values: dict[str, PerDocument] = {}
    for k in ks:
        ideal = unweighted[np.minimum(n_gold, k)]
        values[f"psp@{k}"] = PerDocument(earned[:, :k].sum(axis=1), best[:, :k].sum(axis=1))
        values[f"psndcg@{k}"] = PerDocument(
            earned[:, :k] @ discounts[:k] / ideal, best[:, :k] @ discounts[:k] / ideal
        )
    return values


def _best_weights(gold: Gold, weights_l: Floats, k: int) -> Floats:
    """Return [n, k]: each document's k greatest gold weights, falling, then 0 where it has fewer labels."""
    n = len(gold)
    sizes = np.diff(gold.indptr)
    rows = np.repeat(np.arange(n), sizes)
    weights = weights_l[gold.ids]
    order = np.lexsort((-weights, rows))
    places = np.arange(len(weights)) - np.repeat(gold.indptr[:-1], sizes)
    kept = places < k
    best = np.zeros((n, k))
    best[rows[kept], places[kept]] = weights[order][kept]
    return best


def _repeats(ids_nk: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return [n, k], True where an id stands earlier in the same row."""
    order = np.argsort(ids_nk, axis=1, kind="stable")
    ordered = np.take_along_axis(ids_nk, order, axis=1)
    same = np.zeros_like(ordered, dtype=bool)
    same[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeats = np.empty_like(same)
    np.put_along_axis(repeats, order, same, axis=1)
    return repeats


def _discounts(k: int) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(k) + 2.0), dtype=np.float64)


def _inverse(propensities_l: Floats, gold: Gold) -> Floats:
    if len(gold.ids) and int(gold.ids.max()) >= len(propensities_l):
        raise LmteachError(
            f"Gold holds label id {gold.ids.max()}, but there are only {len(propensities_l)} propensities."
        )
    return 1.0 / np.asarray(propensities_l, dtype=np.float64)


def _checked(
    predicted_ids_nk: npt.NDArray[np.integer], gold: Gold, ks: Sequence[int]
) -> tuple[npt.NDArray[np.integer], list[int]]:
    predicted = np.asarray(predicted_ids_nk)
    if predicted.ndim != 2 or len(predicted) != len(gold):
        raise LmteachError(
            f"Rankings of shape {predicted.shape} do not fit {len(gold)} documents: one row each is wanted."
        )
    if not np.issubdtype(predicted.dtype, np.integer):
        raise LmteachError(f"Rankings hold label ids, hence integers, not {predicted.dtype}.")
    depths = sorted(set(ks))
    if not depths or depths[0] < 1:
        raise LmteachError(f"Depths must be 1 or more, not {list(ks)}.")
    return predicted, depths
