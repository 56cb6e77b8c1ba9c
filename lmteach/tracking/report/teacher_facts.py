"""A run's teacher as a report shows it: yes-rates by place, agreement with gold, and what the shortlists hold.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.curriculum.judged_cycle import JudgedCycle, open_cycle
from lmteach.metrics.ranking import find_hits
from lmteach.teaching.audit import Overview, RankRow, by_rank, look_over
from lmteach.teaching.audit_gold import GoldAgreement, compare_with_gold
from lmteach.teaching.audit_labels import by_label, overused, underused
from lmteach.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus
    from lmteach.corpus.gold import Gold
    from lmteach.recipe.schema import Recipe
    from lmteach.search.shortlist import Shortlist


@dataclass(frozen=True)
class LabelUse:
    """A label that the teacher says yes to too often or too rarely."""

    name: str
    n_yes: int
    expected: float


@dataclass(frozen=True)
class TeacherFacts:
    """What the last cycle's verdicts say, and all cycles' shortlists.

    Attributes:
        title: the teacher in a few words.
        cycle: which cycle's verdicts these are.
        ranks: by place in the shortlist.
        gold: against gold; None without.
        recall_by_k: by cycle, the share of gold labels among the first 1, 2, ... candidates.
        n_judged: candidates of each document that the teacher was asked about.
        ceiling: by k, the P@k that a perfect judge of the first cycle's judged candidates would reach.
    """

    title: str
    cycle: int
    overview: Overview
    ranks: list[RankRow]
    gold: GoldAgreement | None
    overused: list[LabelUse] = field(default_factory=list)
    underused: list[LabelUse] = field(default_factory=list)
    recall_by_k: dict[str, list[float]] = field(default_factory=dict)
    n_judged: int = 0
    ceiling: dict[int, float] = field(default_factory=dict)


def gather_teacher(
    folder: RunFolder, recipe: Recipe, events: Sequence[Mapping[str, Any]], corpus: Corpus | None
) -> TeacherFacts | None:
    """Return what is known of a run's teacher; None where no cycle's verdicts are there."""
    from lmteach.curriculum.variants import title

    gold = corpus.train.gold if corpus is not None and corpus.train.has_gold else None
    cycles = [open_cycle(folder.cycle(int(event["cycle"])), int(event["cycle"]), gold) for event in events]
    found = [cycle for cycle in cycles if cycle is not None]
    if not found:
        return None
    last, sure = found[-1], {"resamples": recipe.evaluation.resamples, "seed": recipe.seed}
    names = None if corpus is None else corpus.labels.names
    uses = by_label(last.verdicts)

    def named(some: Sequence[Any]) -> list[LabelUse]:
        return [
            LabelUse(str(u.label_id) if names is None else names[u.label_id], u.n_yes, u.expected)
            for u in some
        ]

    return TeacherFacts(
        title=title(recipe.teacher),
        cycle=last.number,
        overview=look_over(last.verdicts, **sure),
        ranks=by_rank(last.verdicts),
        gold=None if gold is None else compare_with_gold(last.verdicts, **sure),
        overused=named(overused(uses, 5)),
        underused=named(underused(uses, 5)),
        recall_by_k={} if gold is None else {f"cycle {c.number}": _recall(c, gold) for c in found},
        n_judged=recipe.search.n_judged,
        ceiling={} if gold is None else perfect_judge(found[0], recipe.evaluation.ks),
    )


def _recall(cycle: JudgedCycle, gold: Gold) -> list[float]:
    return shortlist_recall(cycle.shortlist, gold.take(cycle.shortlist.positions_q))


def shortlist_recall(shortlist: Shortlist, gold: Gold) -> list[float]:
    """Return, for k = 1, 2, ..., the mean share of a document's gold labels among its first k candidates.

    Args:
        gold: of the shortlist's documents, in its order; those without any are left out.
    """
    n_gold = np.diff(gold.indptr)
    rows = n_gold > 0
    if not rows.any():
        return []
    hits_nk = find_hits(shortlist.label_ids_qk, gold)[rows]
    shares: list[float] = (np.cumsum(hits_nk, axis=1) / n_gold[rows, None]).mean(axis=0).tolist()
    return shares


def perfect_judge(cycle: JudgedCycle, ks: Sequence[int]) -> dict[int, float]:
    """Return the P@k of a judge that puts all gold candidates of the judged ones first, on training documents."""
    gold = cycle.verdicts.gold
    if gold is None:
        return {}
    rows = np.flatnonzero((np.diff(gold.indptr) > 0) & cycle.verdicts.judged_nk.any(axis=1))
    if not len(rows):
        return {}
    n_right = (cycle.verdicts.right_nk & cycle.verdicts.judged_nk)[rows].sum(axis=1)
    return {k: float(np.minimum(n_right, k).mean() / k) for k in ks}
