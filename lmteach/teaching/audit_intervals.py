"""Bootstrap intervals over documents for what an audit measures on pairs, since pairs of one document hang together.

Shape legend: n documents, k candidates of each, r resamples, p pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from lmteach.metrics.agreement import auc, auc_by_document
from lmteach.metrics.intervals import Interval, bootstrap_intervals
from lmteach.metrics.values import PerDocument

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NOTHING = Interval(float("nan"), float("nan"), float("nan"))
_CHUNK = 1 << 22  # resampled documents held at a time


def ratios(
    parts: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], resamples: int, seed: int
) -> dict[str, Interval]:
    """Return sum(upper) / sum(lower) over documents, each an [n] array; nan where the lower sum is 0."""
    values = {
        name: PerDocument(np.asarray(upper, dtype=np.float64), np.asarray(lower, dtype=np.float64))
        for name, (upper, lower) in parts.items()
    }
    defined = {name: value for name, value in values.items() if not np.isnan(value.mean())}
    found = bootstrap_intervals(defined, resamples=resamples, seed=seed) if defined else {}
    return {name: found.get(name, NOTHING) for name in values}


def kappa_interval(yes_nk: Bools, right_nk: Bools, read_nk: Bools, resamples: int, seed: int) -> Interval:
    """Return Cohen's kappa of yes against right over the pairs that were read."""
    cells_n4 = np.stack(
        [
            (read_nk & (yes_nk == a) & (right_nk == b)).sum(axis=1)
            for a in (True, False)
            for b in (True, False)
        ],
        axis=1,
    ).astype(np.float64)
    drawn = [_kappa(weights_rn @ cells_n4) for weights_rn in draws(len(cells_n4), resamples, seed)]
    return _interval(float(_kappa(cells_n4.sum(axis=0)[None])[0]), np.concatenate(drawn))


def _kappa(cells_r4: Floats) -> Floats:
    total = cells_r4.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreed = (cells_r4[:, 0] + cells_r4[:, 3]) / total
        yes, right = (cells_r4[:, 0] + cells_r4[:, 1]) / total, (cells_r4[:, 0] + cells_r4[:, 2]) / total
        by_chance = yes * right + (1 - yes) * (1 - right)
        result: Floats = np.where(by_chance < 1, (agreed - by_chance) / (1 - by_chance), np.nan)
    return result


def pooled_auc_interval(
    scores_nk: Floats, right_nk: Bools, read_nk: Bools, resamples: int, seed: int
) -> Interval:
    """Return the AUC over all pairs that were read, ties counting half."""
    rows, scores_p, right_p = np.nonzero(read_nk)[0], scores_nk[read_nk], right_nk[read_nk]
    point = auc(scores_p, right_p)
    if np.isnan(point):
        return NOTHING
    _, group_p = np.unique(scores_p, return_inverse=True)
    drawn = []
    for weights_rn in draws(len(scores_nk), resamples, seed):
        for weights_n in weights_rn:
            weights_p = weights_n[rows]
            right = np.bincount(group_p, weights_p * right_p)
            wrong = np.bincount(group_p, weights_p * ~right_p)
            below = np.cumsum(wrong) - wrong / 2
            pairs = right.sum() * wrong.sum()
            drawn.append(float(right @ below) / pairs if pairs else np.nan)
    return _interval(point, np.asarray(drawn))


def mean_auc_interval(
    scores_nk: Floats, right_nk: Bools, read_nk: Bools, resamples: int, seed: int
) -> Interval:
    """Return the mean AUC within the documents that have something right and something wrong."""
    areas = auc_by_document(scores_nk[read_nk], right_nk[read_nk], np.nonzero(read_nk)[0])
    return ratios({"auc": (areas, np.ones(len(areas)))}, resamples, seed)["auc"]


def draws(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield [some resamples, n]: how often each document was drawn."""
    random = np.random.default_rng(seed)
    rows = max(1, min(resamples, _CHUNK // max(1, n)))
    for start in range(0, resamples, rows):
        yield random.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - start)).astype(np.float64)


def _interval(point: float, drawn: Floats) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(point) or not len(known):
        return NOTHING
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(point, float(low), float(high))
