"""What a report says of a classifier beyond its metrics: its teacher's labels, part by part, and each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmteach.tracking.report.facts import RunFacts
from lmteach.tracking.report.html import table

MOST_CLASSES = 100
Rows = list[list[str]]


def parts_of(facts: RunFacts) -> dict[str, Mapping[str, Any]]:
    """Return what the teacher's labelling came to, by part of the corpus; nothing for a run on gold."""
    found = facts.final.get("teacher", {})
    if facts.is_tagger or not isinstance(found, Mapping):
        return {}
    return {name: part for name, part in found.items() if isinstance(part, Mapping)}


def label_rows(facts: RunFacts) -> Rows:
    """Return, for each part, how many documents were labelled and how well, as far as gold tells."""
    return [
        [
            name,
            f"{part.get('documents', 0):,}",
            _share(part.get("accuracy")),
            f"{part.get('unread', 0):,}",
            f"{part.get('unjudged', 0):,}",
            f"{part.get('dropped', 0):,}",
        ]
        for name, part in parts_of(facts).items()
    ]


def class_rows(facts: RunFacts) -> Rows:
    """Return, for each class, the share of the teacher's labels, what it missed of gold, and the student's F1."""
    first: Mapping[str, Any] = next(iter(parts_of(facts).values()), {})
    share, missed = first.get("share") or {}, first.get("missed") or {}
    return [
        [
            str(one["name"]),
            f"{one['documents']:,}",
            _number(one.get("f1")),
            *([_share(share.get(one["name"])), _share(missed.get(one["name"]))] if first else []),
        ]
        for one in facts.final.get("classes", [])
    ]


def class_columns(facts: RunFacts) -> list[str]:
    """Return the headings of `class_rows`."""
    asked = ["of the teacher's labels", "missed by the teacher"] if parts_of(facts) else []
    return ["class", "test documents", "F1 of the student", *asked]


LABEL_COLUMNS = ["part", "documents", "right by gold", "unread", "not judged", "dropped"]


def class_teacher(facts: RunFacts) -> str:
    """Return the teacher's labels."""
    rows = label_rows(facts)
    if not rows:
        return ""
    about = (
        "<p class='soft'>Its labels on each part of the corpus, held against gold where there is some.</p>"
    )
    return f"<h2>Teacher's labels</h2>{about}{table(LABEL_COLUMNS, rows)}"


def classes(facts: RunFacts) -> str:
    """Return each class, the worst first where there are many."""
    rows = class_rows(facts)
    if not rows:
        return ""
    note = ""
    if len(rows) > MOST_CLASSES:
        note = f"<p class='note'>The {MOST_CLASSES} classes with the lowest F1 of {len(rows):,}.</p>"
        rows = sorted(rows, key=lambda row: row[2] or "0")[:MOST_CLASSES]
    return f"<h2>Classes</h2>{note}{table(class_columns(facts), rows)}"


def _share(value: Any) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) and value == value else ""


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and value == value else ""
