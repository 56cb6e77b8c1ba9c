"""How far raters agree: teacher and gold, two teachers, two wordings, one teacher at different ranks.

A vote is yes (1), no (0) or unread (-1); `votes` makes such arrays. Unread votes enter no rate, but are
counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError
from lmteach.metrics.intervals import Interval
from lmteach.metrics.values import Floats

Votes = npt.NDArray[np.int8]
YES, NO, UNREAD = 1, 0, -1


@dataclass(frozen=True)
class Rate:
    """A share with its Wilson interval: `n_yes` of `n_read`, while `n_unread` more could not be read."""

    n_yes: int
    n_read: int
    n_unread: int
    interval: Interval

    @property
    def share(self) -> float:
        return self.interval.mean


@dataclass(frozen=True)
class RaterAgreement:
    """Two raters over the same items.

    Attributes:
        agreed: the share of items both read on which they say the same; its `n_unread` counts the items that
            at least one of them did not read.
        kappa: Cohen's (1960), agreement beyond what their yes-rates alone would give; nan where both always
            say the same one word.
        yes_a: the first rater's yes-rate, over all items it read.
        yes_b: the second one's.
    """

    agreed: Rate
    kappa: float
    yes_a: Rate
    yes_b: Rate


def votes(answers: Iterable[bool | None]) -> Votes:
    """Return answers as votes; None = unread."""
    return np.array([UNREAD if a is None else int(a) for a in answers], dtype=np.int8)


def votes_from_scores(scores: Iterable[float | None], threshold: float = 0.0) -> Votes:
    """Return scores as votes: yes above the threshold, no at or below it; None and NaN = unread."""
    values = _as_floats(scores)
    said = np.where(values > threshold, YES, NO)
    return np.where(np.isnan(values), UNREAD, said).astype(np.int8)


def compare_raters(a: Votes, b: Votes) -> RaterAgreement:
    """Compare two raters item by item.

    Raises:
        LmteachError: they did not rate the same number of items.
    """
    _check_paired(a, b)
    read = (a != UNREAD) & (b != UNREAD)
    agreed = rate(np.where(read, a == b, UNREAD))
    both_a, both_b = a[read], b[read]
    if not len(both_a):
        return RaterAgreement(agreed, float("nan"), rate(a), rate(b))
    yes_a, yes_b = float(both_a.mean()), float(both_b.mean())
    by_chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    kappa = (agreed.share - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")
    return RaterAgreement(agreed, kappa, rate(a), rate(b))


def rate(said: npt.ArrayLike) -> Rate:
    """Return the yes-rate of votes."""
    said = np.asarray(said)
    n_yes, n_read = int((said == YES).sum()), int((said != UNREAD).sum())
    return Rate(n_yes, n_read, int(said.size) - n_read, wilson_interval(n_yes, n_read))


def yes_rate_by_rank(votes_qk: Votes) -> list[Rate]:
    """Return the yes-rate at each place of q shortlists, best place first."""
    return [rate(votes_qk[:, place]) for place in range(votes_qk.shape[1])]


def consistency(votes_nr: Votes) -> Rate:
    """Return how often r readings of the same item (shuffles, wordings, repeats) say the same.

    Each of the n items counts once: it is consistent where all its read votes agree. Items with fewer than
    two read votes count as unread.
    """
    read = votes_nr != UNREAD
    n_read, n_yes = read.sum(axis=1), (votes_nr == YES).sum(axis=1)
    same = (n_yes == 0) | (n_yes == n_read)
    return rate(np.where(n_read >= 2, same, UNREAD))


def auc(scores: Iterable[float | None], gold: npt.ArrayLike) -> float:
    """Return the chance that a right item is scored above a wrong one, ties counting half (Mann and Whitney).

    None and NaN scores are left out; nan where nothing right or nothing wrong remains.

    Raises:
        LmteachError: scores and gold differ in length.
    """
    values, right = _as_floats(scores), np.asarray(gold, dtype=bool)
    _check_paired(values, right)
    read = ~np.isnan(values)
    values, right = values[read], right[read]
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if not n_right or not n_wrong:
        return float("nan")
    rank_sum = float(average_ranks(values)[right].sum())
    return (rank_sum - n_right * (n_right + 1) / 2) / (n_right * n_wrong)


def auc_by_document(scores: Iterable[float | None], gold: npt.ArrayLike, documents: npt.ArrayLike) -> Floats:
    """Return the AUC within each document that has something right and something wrong, in order of document.

    Unlike the pooled `auc`, it does not ask that scores of different documents compare.

    Args:
        scores: of document-label pairs.
        gold: whether the label is right.
        documents: which document each pair belongs to; equal values belong together.
    """
    values, right, ids = _as_floats(scores), np.asarray(gold, dtype=bool), np.asarray(documents)
    _check_paired(values, right)
    _check_paired(values, ids)
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order])) + 1
    areas = np.array([auc(values[rows], right[rows]) for rows in np.split(order, starts)], dtype=np.float64)
    return areas[~np.isnan(areas)]


def spearman(a: Iterable[float | None], b: Iterable[float | None]) -> float:
    """Return the correlation of ranks, ties sharing their mean rank; pairs with None or NaN are left out.

    nan where fewer than two pairs remain or one side is constant.

    Raises:
        LmteachError: a and b differ in length.
    """
    x, y = _as_floats(a), _as_floats(b)
    _check_paired(x, y)
    read = ~(np.isnan(x) | np.isnan(y))
    if read.sum() < 2:
        return float("nan")
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(x[read]), average_ranks(y[read])))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread else float("nan")


def average_ranks(values: Floats) -> Floats:
    """Return ranks from 1 for the least; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: Floats = np.cumsum(counts) - (counts - 1) / 2.0
    return mean_ranks[place]


def wilson_interval(n_yes: int, n: int, level: float = 0.95) -> Interval:
    """Return a share with Wilson's score interval (1927), which holds for small n and extreme shares too.

    nan, between 0 and 1, where n is 0.
    """
    if not n:
        return Interval(float("nan"), 0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = n_yes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def _as_floats(scores: Iterable[float | None]) -> Floats:
    if isinstance(scores, np.ndarray):
        return scores.astype(np.float64)
    return np.array([np.nan if s is None else s for s in scores], dtype=np.float64)


def _check_paired(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    if a.shape != b.shape or a.ndim != 1:
        raise LmteachError(f"What is compared must be vectors of one length, not {a.shape} and {b.shape}.")
