"""An audit of classes on the console."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lmteach.tracking.console import Console

if TYPE_CHECKING:
    from lmteach.curriculum.class_auditing import ClassAudit
    from lmteach.teaching.noise import ClassErrors

EXCERPT = 160


def print_class_audit(console: Console, audit: ClassAudit) -> None:
    """Print an audit of classes."""
    agreement = "" if audit.agreement is None else f", prompts agree {audit.agreement:.1%}"
    print(
        f"audit of {audit.source}; teacher {audit.teacher}: {audit.n_documents:,} documents, "
        f"{audit.n_unread:,} unread, {audit.n_unjudged:,} unjudged{agreement}"
    )
    if audit.by_gold is not None:
        _errors(console, audit, audit.by_gold, "errors against gold")
    if audit.estimated is not None:
        title = "errors estimated without gold (confident joint; errors that follow the content go unseen)"
        _errors(console, audit, audit.estimated, title)
    rows = [
        [
            f"{part.by}: {part.name}",
            f"{part.n_documents:,}",
            " / ".join(f"{share:.0%}" for share in part.said.values()),
            _share(part.margin),
            "" if part.accuracy is None else f"{part.accuracy:.1%} [{part.low:.1%}, {part.high:.1%}]",
        ]
        for part in audit.slices
        if part.n_documents
    ]
    said = f"said {' / '.join(audit.names)}"
    console.table(
        "by slice, 95% intervals (Wilson)", ["", "documents", said, "mean margin", "accuracy"], rows
    )
    if audit.doubts:
        print(f"in doubt, because {audit.doubts[0].why}:")
    for doubt in audit.doubts:
        text = " ".join(doubt.text.split())[:EXCERPT]
        print(f"  {doubt.document_id}: {doubt.said} ({doubt.confidence:.2f}), not {doubt.instead}: {text}")
    for note in audit.notes:
        print(f"note: {note}")


def _errors(console: Console, audit: ClassAudit, errors: ClassErrors, title: str) -> None:
    rows = [
        [name, _share(missed), _share(misapplied)]
        for name, missed, misapplied in zip(audit.names, errors.missed, errors.misapplied, strict=True)
    ]
    heading = f"{title}: {errors.rate:.1%} of {errors.n_documents:,} documents"
    console.table(heading, ["class", "of its documents, missed", "of those put there, wrong"], rows)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"
