"""What makes a teacher stand well: agreement of scores within a document, gain over the student, and the order.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.metrics.agreement import spearman
from lmteach.metrics.intervals import Interval, bootstrap_intervals
from lmteach.metrics.ranking import find_hits
from lmteach.metrics.values import Floats, PerDocument

if TYPE_CHECKING:
    from lmteach.corpus.gold import Gold


@dataclass(frozen=True)
class Standing:
    """What one teacher showed; None = could not be measured.

    Attributes:
        consistency: mean rank correlation, within a document, of its scores with those it gives when asked in
            other words or, list-wise, in another order. `how` says which.
        agreement: mean rank correlation with each other teacher's scores, within a document.
        gain: P@1 of its best candidate less that of the student's first; against gold of training documents
            where there is some, else against the other teachers' joint first choice.
        unread: share of answers that could not be read.
        seconds, usd: a thousand judgements, of those made now; None where the store answered all.
        place: 1 = best, by the mean of its ranks in the three above; those that it lacks are left out.
    """

    name: str
    teacher: str
    consistency: Interval | None
    how: str
    agreement: Interval | None
    gain: Interval | None
    unread: float
    judgements: int
    from_store: int
    seconds: float | None
    usd: float | None
    place: int = 0


def correlate(a_nk: Floats, b_nk: Floats) -> Floats:
    """Return the rank correlation of two teachers' scores within each document, [n]; nan where there is none."""
    return np.array([spearman(a, b) for a, b in zip(a_nk, b_nk, strict=True)], dtype=np.float64)


def gain_by_gold(scores_nk: Floats, ids_nk: npt.NDArray[np.int32], gold: Gold) -> Floats:
    """Return, by document with gold, [n], whether the teacher's best is right less whether the student's first is."""
    hits_nk = find_hits(ids_nk, gold)
    read = ~np.isnan(scores_nk).all(axis=1) & (np.diff(gold.indptr) > 0)
    best = np.where(np.isnan(scores_nk), -np.inf, scores_nk).argmax(axis=1)
    gain: Floats = hits_nk[np.arange(len(hits_nk)), best].astype(np.float64) - hits_nk[:, 0]
    return np.where(read, gain, np.nan)


def gain_by_others(scores_nk: Floats, others: Sequence[Floats]) -> Floats:
    """Return the same with the other teachers' joint first choice in the place of gold."""
    joint_nk = np.nansum([_standardise(other) for other in others], axis=0)
    read = ~np.isnan(scores_nk).all(axis=1) & ~np.all([np.isnan(o).all(axis=1) for o in others], axis=0)
    right, best = joint_nk.argmax(axis=1), np.where(np.isnan(scores_nk), -np.inf, scores_nk).argmax(axis=1)
    return np.where(read, (best == right).astype(np.float64) - (right == 0), np.nan)


def _standardise(scores_nk: Floats) -> Floats:
    known = ~np.isnan(scores_nk)
    n = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled = np.where(known, scores_nk, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / n
    spread = np.sqrt((np.where(known, scores_nk - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / n)
    return np.where(known, (scores_nk - mean) / np.where(spread > 0, spread, 1.0), 0.0)


def agreement_with(scores_nk: Floats, others: Sequence[Floats]) -> Floats:
    """Return the mean rank correlation with the other teachers' scores within each document, [n]; nan where none."""
    found_on = np.stack([correlate(scores_nk, other) for other in others])
    n_known = (~np.isnan(found_on)).sum(axis=0)
    total: Floats = np.nansum(found_on, axis=0)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)


def mean_of(values: Floats, sure: Mapping[str, int]) -> Interval | None:
    """Return the mean over documents with its bootstrap interval; None where no document has a value."""
    known = values[~np.isnan(values)]
    return bootstrap_intervals({"": PerDocument(known)}, **sure)[""] if len(known) else None


def place_all(standings: Sequence[Standing]) -> list[Standing]:
    """Return standings best first, numbered."""
    ranks: dict[str, list[float]] = {standing.name: [] for standing in standings}
    for measure in ("consistency", "agreement", "gain"):
        measured = [s for s in standings if getattr(s, measure) is not None]
        if len(measured) < 2:
            continue  # a measure that only one has says nothing about the others
        for s in measured:
            mine = getattr(s, measure).mean
            better = sum(getattr(o, measure).mean > mine for o in measured)
            ranks[s.name].append(better / (len(measured) - 1))
    order = sorted(
        standings,
        key=lambda s: (
            float(np.mean(ranks[s.name])) if ranks[s.name] else 1.0,
            -(s.gain.mean if s.gain is not None else -np.inf),
        ),
    )
    return [replace(standing, place=i) for i, standing in enumerate(order, start=1)]
