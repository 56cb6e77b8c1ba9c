"""An audit from end to end: verdicts alone, against gold, against other teachers and wordings, and deeper."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmteach.curriculum.audited import Audited, Rows
from lmteach.curriculum.judging import judge, judgements_of
from lmteach.curriculum.labelling import recipe_rule
from lmteach.curriculum.variants import title, with_keys, with_prompt
from lmteach.errors import LmteachError
from lmteach.teaching.audit import (
    Overview,
    RankRow,
    TeacherComparison,
    Verdicts,
    by_rank,
    compare_teachers,
    look_over,
    vote,
)
from lmteach.teaching.audit_depth import DepthRow, by_depth, recommend_depth
from lmteach.teaching.audit_gold import GoldAgreement, compare_with_gold
from lmteach.teaching.audit_labels import Dispute, LabelUse, by_label, find_disputes, overused, underused
from lmteach.teaching.records import list_keys, pair_keys
from lmteach.teaching.stored_teacher import shorten

LOOKED_UP = 2000  # documents looked up in the store for each other teacher


@dataclass(frozen=True)
class Options:
    """How far an audit goes.

    Attributes:
        deep: documents judged to `depth`; 0 = none.
        depth: candidates of each.
        prompts: presets to ask a sample by again.
        teacher: keys laid over the teacher's section, to ask a sample of another one; empty = none.
        sample: documents of these samples.
        disputed: items shown.
    """

    deep: int = 0
    depth: int = 30
    prompts: Sequence[str] = ()
    teacher: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 50
    disputed: int = 20


@dataclass
class Audit:
    """Everything an audit found; see the functions that make its parts. `judged` counts pairs judged for it."""

    source: str
    teacher: str
    rule: str
    overview: Overview
    ranks: list[RankRow]
    gold: GoldAgreement | None
    overused: list[LabelUse]
    underused: list[LabelUse]
    teachers: list[TeacherComparison]
    variants: list[TeacherComparison]
    disputes: list[Dispute]
    depths: list[DepthRow]
    deep_documents: int
    recommended: int | None
    judged: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; what is not a number becomes null."""
        plain: dict[str, Any] = plain_values(dataclasses.asdict(self))
        return plain


def plain_values(value: Any) -> Any:
    """Return nested values as JSON knows them; what is not a finite number becomes null."""
    if isinstance(value, Mapping):
        return {key: plain_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain_values(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def audit(audited: Audited, options: Options) -> Audit:
    """Look at a teacher's verdicts, and judge what the options ask for.

    Raises:
        RecipeError: a prompt or a teacher's key does not exist.
        TeacherError: a teacher cannot answer; what it answered is in the store.
    """
    context, verdicts = audited.context, audited.verdicts
    recipe, before = context.recipe, context.counters.copy()
    sure = {"resamples": recipe.evaluation.resamples, "seed": recipe.seed}
    notes: list[str] = []
    variants = _ask_variants(audited, options)
    rows = audited.draw(LOOKED_UP, "store")
    stored = _look_up_teachers(audited, rows, notes)
    deep_rows, deep = _judge_deep(audited, options, notes)
    uses = by_label(verdicts)
    others = [(name, _spread(other, len(verdicts), rows)) for name, other in stored]
    others += [(name, _spread(other, len(verdicts), at)) for name, other, at in variants]
    return Audit(
        source=audited.source,
        teacher=title(recipe.teacher),
        rule=_describe_rule(audited),
        overview=look_over(verdicts, **sure),
        ranks=by_rank(verdicts),
        gold=None if verdicts.gold is None else compare_with_gold(verdicts, **sure),
        overused=overused(uses),
        underused=underused(uses),
        teachers=_compared(audited, [(name, other, rows) for name, other in stored]),
        variants=_compared(audited, variants),
        disputes=find_disputes(verdicts, others, options.disputed),
        depths=by_depth(verdicts if deep is None else deep, **sure),
        deep_documents=len(deep_rows),
        recommended=None if deep is None else recommend_depth(by_depth(deep, resamples=1)),
        judged=(context.counters - before).made,
        notes=notes,
    )


def _compared(audited: Audited, others: Sequence[tuple[str, Verdicts, Rows]]) -> list[TeacherComparison]:
    found = [compare_teachers(audited.of_rows(rows), other, name) for name, other, rows in others]
    return [comparison for comparison in found if comparison is not None]


def _spread(other: Verdicts, n: int, rows: Rows) -> Verdicts:
    """Return verdicts on some rows as verdicts on all n, the others not asked about."""
    k = other.label_ids_nk.shape[1]
    ids = np.full((n, k), -1, dtype=np.int32)
    scores, judged = np.full((n, k), np.nan, dtype=np.float32), np.zeros((n, k), dtype=np.bool_)
    votes = np.full((n, k), -1, dtype=np.int8)
    ids[rows], scores[rows], judged[rows], votes[rows] = (
        other.label_ids_nk,
        other.scores_nk,
        other.judged_nk,
        other.votes_nk,
    )
    return Verdicts(ids, scores, judged, votes)


def _ask_variants(audited: Audited, options: Options) -> list[tuple[str, Verdicts, Rows]]:
    """Have other prompts and another teacher judge a sample of the documents again."""
    section = audited.context.recipe.teacher
    asked = [(f"prompt {name}", with_prompt(section, name)) for name in options.prompts]
    if options.teacher:
        other = with_keys(section, options.teacher)
        asked.append((f"teacher {title(other)}", other))
    rows = audited.draw(options.sample, "sample")
    return [(name, _judge_again(audited, other, rows), rows) for name, other in asked]


def _judge_again(audited: Audited, section: Mapping[str, Any], rows: Rows) -> Verdicts:
    context, k = audited.context, audited.verdicts.label_ids_nk.shape[1]
    with context.teacher(section) as teacher:
        said = judge(context, teacher, context.corpus.train, audited.shortlist_of(rows), k)
    votes = vote(said.scores_nk, said.label_ids_nk, said.judged_nk, recipe_rule(context.recipe))
    return Verdicts(said.label_ids_nk, said.scores_nk, said.judged_nk, votes)


def _judge_deep(audited: Audited, options: Options, notes: list[str]) -> tuple[Rows, Verdicts | None]:
    if not options.deep:
        return np.zeros(0, dtype=np.int64), None
    context, rows = audited.context, audited.draw(options.deep, "deep")
    width = audited.shortlist.label_ids_qk.shape[1]
    depth = min(options.depth, width)
    if depth < options.depth:
        notes.append(f"The shortlists hold {width} candidates (search.n_kept), so {depth} are judged.")
    with context.teacher() as teacher:
        said = judge(context, teacher, context.corpus.train, audited.shortlist_of(rows), depth)
    rule = audited.rule
    if (
        rule.rule == "quantile"
    ):  # its cut is that of the usual depth: deeper, the same share would be other labels
        read = audited.verdicts.scores_nk[audited.verdicts.read_nk]
        rule = dataclasses.replace(rule, rule="threshold", threshold=float(np.quantile(read, rule.quantile)))
    elif rule.rule == "top":
        rule = dataclasses.replace(rule, keep=1.0)
    votes = vote(said.scores_nk, said.label_ids_nk, said.judged_nk, rule)
    gold = None if audited.verdicts.gold is None else audited.verdicts.gold.take(rows)
    return rows, Verdicts(said.label_ids_nk, said.scores_nk, said.judged_nk, votes, gold)


def _look_up_teachers(audited: Audited, rows: Rows, notes: list[str]) -> list[tuple[str, Verdicts]]:
    """Return what every other teacher in the store said about the same pairs."""
    store, context = audited.context.store, audited.context
    if store is None:
        return []
    try:
        with context.teacher() as teacher:
            own = teacher.identity
    except LmteachError as error:
        own = ""
        notes.append(f"The teacher's own verdicts may stand among the other teachers'. {error}")
    shortlist, some = audited.shortlist_of(rows), audited.of_rows(rows)
    k = some.label_ids_nk.shape[1]
    judgements = list(judgements_of(context, context.corpus.train, shortlist, k))
    found = []
    for stats in store.stats():
        if stats.identity == own:
            continue
        scores = np.full(some.scores_nk.shape, np.nan, dtype=np.float32)
        judged = np.zeros(some.scores_nk.shape, dtype=np.bool_)
        for make in (pair_keys, list_keys):
            keys = [make(stats.identity, j.document, j.questions) for j in judgements]
            known = store.get_many(key for row in keys for key in row)
            for i, row in enumerate(keys):
                for place, key in enumerate(row):
                    if key in known:
                        score = known[key].score
                        judged[i, place], scores[i, place] = True, np.nan if score is None else score
        if (judged & some.judged_nk).any():
            votes = vote(scores, some.label_ids_nk, judged, recipe_rule(context.recipe))
            found.append((shorten(stats.identity, 72), Verdicts(some.label_ids_nk, scores, judged, votes)))
    return found


def _describe_rule(audited: Audited) -> str:
    rule = audited.rule
    if rule.rule == "threshold":
        return f"a score above {rule.threshold:.3g}"
    if rule.rule == "quantile":
        return f"a score above the {rule.quantile:.0%} quantile"
    return f"the best score of a document, for the {rule.keep:.0%} of documents where it leads most"
