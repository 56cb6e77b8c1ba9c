"""Tables of a model card: metrics with intervals, where labels come from, what the run cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = ("accuracy", "macro_f1", "p@1", "p@3", "p@5", "r@10", "ndcg@5")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a cell's line breaks and bars are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(text: str) -> str:
    flat = " ".join(text.split())
    return flat.replace("\\|", "|").replace("|", "\\|")


def metric_table(final: Mapping[str, Any]) -> str:
    """Return each student's metrics on held-out gold, with 95% bootstrap intervals."""
    by_name: Mapping[str, Any] = final.get("by_name") or {
        name: final[name] for name in ("untuned", "student") if name in final
    }
    intervals = final.get("intervals") or {}
    metrics = [name for name in SHOWN if any(name in values for values in by_name.values())]
    chosen = final.get("chosen")
    rows = []
    for name, values in by_name.items():
        mark = " (this one)" if name == chosen else ""
        rows.append([name + mark, *(_value(values, intervals.get(name, {}), metric) for metric in metrics)])
    return table(["student", *metrics], rows)


def _value(values: Mapping[str, float], bounds: Mapping[str, Sequence[float]], metric: str) -> str:
    if metric not in values:
        return ""
    if metric not in bounds:
        return f"{values[metric]:.3f}"
    low, high = bounds[metric]
    return f"{values[metric]:.3f} [{low:.3f}, {high:.3f}]"


def provenance_rows(final: Mapping[str, Any], *, taught: bool) -> list[list[str]]:
    """Return who said that a label fits: judgements, yes-rate, unread answers, agreement with gold.

    Args:
        taught: whether a teacher said so; else gold did.
    """
    if not taught:
        return [["labels", "gold labels of the corpus"], ["judgements", "none"]]
    if not final:
        return [["judgements", "not known: the run is not over"]]
    rows = [
        ["judgements made", _count(final.get("judgements"))],
        ["taken from the store", _count(final.get("from_store"))],
    ]
    teacher = final.get("teacher") or {}
    parts = {name: part for name, part in teacher.items() if isinstance(part, Mapping)}
    if parts:
        return [row for name, part in parts.items() for row in _part_rows(name, part)]
    answers, unread = teacher.get("answers") or 0, teacher.get("unread") or 0
    if answers:
        rows.append(["unread answers", f"{unread:,} of {answers:,} ({unread / answers:.2%})"])
    if teacher.get("yes_rate") is not None:
        rows.append(["answers made positive", f"{teacher['yes_rate']:.1%} of those read"])
    if "p@1" in teacher:
        rows.append(
            [
                "agreement with gold",
                f"the teacher's first choice is gold on {teacher['p@1']:.1%} of "
                f"{teacher.get('documents', 0):,} training documents (the untuned student's: "
                f"{teacher.get('student_p@1', float('nan')):.1%})",
            ]
        )
    else:
        rows.append(["agreement with gold", "not known"])
    return rows


def _part_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    """Return what a classifier's teacher said of one part of the texts."""
    documents, unread = part.get("documents") or 0, part.get("unread") or 0
    rows = [[f"judgements made ({name} texts)", _count(part.get("judgements"))]]
    rows.append(["taken from the store", _count(part.get("from_store"))])
    if documents:
        rows.append(["unread answers", f"{unread:,} of {documents:,} ({unread / documents:.2%})"])
    if part.get("agreement") is not None:
        rows.append(["agreement among its own answers", f"{part['agreement']:.1%}"])
    right = f"right on {part['accuracy']:.1%}" if "accuracy" in part else "not known"
    rows.append(["agreement with gold", right])
    return rows


def cost_rows(final: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return what the run spent, and where it ran."""
    rows = []
    if "seconds" in final:
        rows.append(["the whole run", f"{final['seconds']:,.0f} s"])
    if final.get("teacher_seconds") is not None:
        rows.append(["of it the teacher", f"{final['teacher_seconds']:,.0f} s"])
    if final.get("prompt_tokens"):
        rows.append(["prompt tokens", _count(final["prompt_tokens"])])
    if final.get("usd") is not None:
        rows.append(["money for the teacher", f"{final['usd']:.2f} USD"])
    if final.get("joules") is not None:
        rows.append(["energy of the teacher", f"{final['joules']:,.0f} J"])
    if manifest.get("platform"):
        rows.append(["machine", f"{manifest['platform']}, {manifest.get('processors', '?')} processors"])
    versions = manifest.get("versions") or {}
    if versions:
        rows.append(["versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    return rows or [["", "not known"]]


def _count(value: Any) -> str:
    return "not known" if value is None else f"{int(value):,}"
