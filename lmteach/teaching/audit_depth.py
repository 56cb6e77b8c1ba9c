"""How deep a shortlist should be judged: what each smaller one would have found of what a deep one found.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmteach.metrics.agreement import YES
from lmteach.metrics.intervals import Interval
from lmteach.teaching.audit import Verdicts
from lmteach.teaching.audit_intervals import ratios

FOUND_SHARE = 0.9  # of what the deep shortlist found
LEAST_YIELD = 0.05  # positives that a judgement must bring
WINDOW = 3  # places whose mean yield counts


@dataclass(frozen=True)
class DepthRow:
    """What the first `k` candidates of each document would have found.

    Attributes:
        k: candidates judged.
        n_judgements: pairs that takes.
        found: share of the deep shortlist's positives that lie within, with its interval over documents; of
            those that are right, where there is gold.
        n_positives: yes of the teacher.
        n_right: those of them that are gold; None without gold.
        documents: share of documents with a positive.
        marginal: positives that one more judgement at place k brings; right ones where there is gold.
    """

    k: int
    n_judgements: int
    found: Interval
    n_positives: int
    n_right: int | None
    documents: float
    marginal: float


def by_depth(verdicts: Verdicts, *, resamples: int = 1000, seed: int = 0) -> list[DepthRow]:
    """Cut deep shortlists at every depth."""
    judged_nk, yes_nk = verdicts.judged_nk, verdicts.votes_nk == YES
    right_nk = None if verdicts.gold is None else yes_nk & verdicts.right_nk
    useful_nk = yes_nk if right_nk is None else right_nk
    depths = [k for k in range(1, judged_nk.shape[1] + 1) if judged_nk[:, k - 1].any()]
    all_n = useful_nk.sum(axis=1)
    found = ratios({str(k): (useful_nk[:, :k].sum(axis=1), all_n) for k in depths}, resamples, seed)
    n_judged = max(1, int(judged_nk.any(axis=1).sum()))
    return [
        DepthRow(
            k=k,
            n_judgements=int(judged_nk[:, :k].sum()),
            found=found[str(k)],
            n_positives=int(yes_nk[:, :k].sum()),
            n_right=None if right_nk is None else int(right_nk[:, :k].sum()),
            documents=float(useful_nk[:, :k].any(axis=1).sum() / n_judged),
            marginal=float(useful_nk[:, k - 1].sum() / judged_nk[:, k - 1].sum()),
        )
        for k in depths
    ]


def recommend_depth(
    rows: Sequence[DepthRow], *, found_share: float = FOUND_SHARE, least_yield: float = LEAST_YIELD
) -> int | None:
    """Return the depth to judge; None where the deep shortlist found nothing.

    The fewest candidates within which lie `found_share` of the positives that the deepest shortlist found, but
    none past the last place around which (the mean of three neighbouring places) a judgement still brings
    `least_yield` positives. The first part stops where little is left to find, the second where finding it
    costs too much.
    """
    if not rows or not rows[-1].n_positives or np.isnan(rows[-1].found.mean):
        return None
    enough = next(row.k for row in rows if row.found.mean >= found_share - 1e-12)
    yields = np.array([row.marginal for row in rows])
    half = WINDOW // 2
    smooth = [yields[max(0, i - half) : i + half + 1].mean() for i in range(len(rows))]
    worth = [row.k for row, value in zip(rows, smooth, strict=True) if value >= least_yield - 1e-12]
    return min(enough, max(worth, default=rows[0].k))
