"""An audit on the console: a few tables and sentences, the figures of `--json` in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lmteach.metrics.intervals import Interval
from lmteach.teaching.audit_depth import FOUND_SHARE, LEAST_YIELD
from lmteach.tracking.console import Console
from lmteach.tracking.figures import interval, rate

if TYPE_CHECKING:
    from lmteach.curriculum.auditing import Audit
    from lmteach.teaching.audit import TeacherComparison
    from lmteach.teaching.audit_depth import DepthRow
    from lmteach.teaching.audit_labels import Dispute, LabelUse

EXCERPT = 160  # characters of a document
GOLD_LINES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "kappa": "kappa (beyond chance)",
    "precision": "precision of a yes",
    "recall": "recall among the candidates",
    "auc": "AUC, all pairs",
    "auc_by_document": "AUC within a document",
    "student_auc_by_document": "  of the student's order",
    "p1": "P@1 of the teacher's best",
    "student_p1": "  of the student's first",
    "candidates_recall": "gold among the candidates",
}


def print_audit(console: Console, audit: Audit, names: Sequence[str], texts: Mapping[int, str]) -> None:
    """Print an audit.

    Args:
        names: of the labels, by id.
        texts: of the documents in dispute, by row.
    """
    found = audit.overview
    print(f"audit of {audit.source}; teacher: {audit.teacher}; yes means {audit.rule}")
    print(
        f"{found.n_documents:,} documents, {found.n_pairs:,} pairs: yes {interval(found.yes_rate)}, "
        f"unread {found.n_unread:,} ({found.unread_rate:.1%}), documents without a yes {found.n_without:,}"
    )
    _print_ranks(console, audit)
    if audit.gold is not None:
        values = dataclasses.asdict(audit.gold)
        rows = [[title, interval(Interval(**values[key]))] for key, title in GOLD_LINES.items()]
        console.table("against gold, 95% intervals over documents", ["", ""], rows)
    expected = "gold" if audit.gold is not None else "expected"
    _print_labels(console, "labels it uses too often", audit.overused, names, expected)
    _print_labels(console, "labels it uses too rarely", audit.underused, names, expected)
    _print_teachers(console, "other teachers in the store, on the same pairs", audit.teachers)
    _print_teachers(console, "asked again", audit.variants)
    _print_depths(console, audit)
    _print_disputes(audit.disputes, names, texts)
    for note in audit.notes:
        print(f"note: {note}")


def _print_ranks(console: Console, audit: Audit) -> None:
    with_gold = any(row.gold is not None for row in audit.ranks)
    rows = [
        [
            f"{row.rank}",
            rate(row.yes),
            f"{row.yes.n_unread:,}",
            f"{row.mean_score:+.2f}",
            *([_maybe(row.gold, "{:.1%}"), _maybe(row.precision, "{:.1%}")] if with_gold else []),
        ]
        for row in audit.ranks
    ]
    heading = ["place", "yes", "unread", "mean score", *(["gold", "right of yes"] if with_gold else [])]
    console.table("by place in the shortlist", heading, rows)


def _print_labels(
    console: Console, title: str, uses: Iterable[LabelUse], names: Sequence[str], expected: str
) -> None:
    rows = [
        [_excerpt(names[use.label_id], 48), f"{use.n_read:,}", f"{use.n_yes:,}", f"{use.expected:,.0f}"]
        for use in uses
    ]
    if rows:
        console.table(title, ["label", "asked", "yes", expected], rows)


def _print_teachers(console: Console, title: str, compared: Sequence[TeacherComparison]) -> None:
    if not compared:
        return
    with_gold = any(c.other_auc is not None for c in compared)
    rows = [
        [
            c.name,
            f"{c.n_pairs:,}",
            rate(c.agreed),
            f"{c.kappa:.2f}",
            f"{c.spearman:.2f}",
            f"{c.yes.share:.1%}",
            f"{c.other_yes.share:.1%}",
            *([_maybe(c.auc, "{:.3f}"), _maybe(c.other_auc, "{:.3f}")] if with_gold else []),
        ]
        for c in compared
    ]
    gold = ["AUC here", "AUC there"] if with_gold else []
    heading = ["", "pairs", "same word", "kappa", "Spearman", "yes here", "yes there", *gold]
    console.table(title, heading, rows)


def _print_depths(console: Console, audit: Audit) -> None:
    right = any(row.n_right is not None for row in audit.depths)
    rows = [_depth_cells(row, right) for row in audit.depths if _shown(row.k, len(audit.depths))]
    what = "right positives" if right else "positives"
    console.table(
        f"what a smaller shortlist finds of the {what} within {len(audit.depths)}",
        [
            "k",
            "judgements",
            "found",
            "yes",
            *(["right"] if right else []),
            "documents with one",
            "one more brings",
        ],
        rows,
    )
    deepest = len(audit.depths)
    if not audit.deep_documents:
        print(f"judged to k = {deepest}; --deep N judges N documents deeper and recommends a k")
    elif audit.recommended is None:
        print(f"nothing was found within {deepest}, so no k is recommended")
    else:
        print(
            f"recommended: search.n_judged={audit.recommended} ({audit.deep_documents:,} documents to {deepest}): "
            f"the fewest that hold {FOUND_SHARE:.0%} of these {what}, but none past the last place around which one "
            f"more judgement brings {LEAST_YIELD:g}"
        )


def _depth_cells(row: DepthRow, right: bool) -> list[str]:
    return [
        f"{row.k}",
        f"{row.n_judgements:,}",
        interval(row.found),
        f"{row.n_positives:,}",
        *([f"{row.n_right:,}"] if right else []),
        f"{row.documents:.1%}",
        f"{row.marginal:.3f}",
    ]


def _shown(k: int, deepest: int) -> bool:
    return deepest <= 10 or k <= 5 or k % 5 == 0 or k == deepest


def _print_disputes(disputes: Sequence[Dispute], names: Sequence[str], texts: Mapping[int, str]) -> None:
    if not disputes:
        return
    print(f"{len(disputes)} items in dispute")
    for dispute in disputes:
        said = f"score {dispute.score:+.2f}, place {dispute.place + 1}"
        if dispute.other_score is not None:
            said += f"; {dispute.other}: {dispute.other_score:+.2f}"
        print(f"  {dispute.kind}: '{_excerpt(names[dispute.label_id], 60)}' ({said})")
        print(f"    {_excerpt(texts[dispute.row], EXCERPT)}")


def _excerpt(text: str, n: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= n else line[: n - 3] + "..."


def _maybe(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
