"""The tables that a run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmteach.tracking.console import Console

SHOWN = ("p@1", "p@3", "p@5", "r@10", "ndcg@5")


def print_students(console: Console, measured: Mapping[str, Any], dev_p1: Mapping[str, float]) -> None:
    """Print each student against held-out gold, with intervals, and the chosen one's gain.

    Args:
        measured: what `curriculum.finish.measure` returns.
        dev_p1: each student's teacher-judged P@1 on dev, where there is one.
    """
    shown = [metric for metric in SHOWN if metric in measured["untuned"]]
    rows = []
    for name, means in measured["by_name"].items():
        bounds = measured["intervals"][name]
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(means[m], *bounds[m]) for m in shown]
        mark = " (best)" if name == measured["chosen"] != "best" else ""
        dev = f"{dev_p1[name]:.3f}" if name in dev_p1 else ""
        rows.append([name + mark, *cells, *([dev] if dev_p1 else [])])
    console.table(
        f"{measured['test_documents']:,} held-out documents, 95% bootstrap intervals",
        ["student", *map(_heading, shown), *(["dev P@1 by teacher"] if dev_p1 else [])],
        rows,
    )
    for metric in shown[:1]:
        gain = measured["gain"][metric]
        print(
            f"{_heading(metric)} gained over the untuned student: {gain['difference']:+.3f} "
            f"[{gain['low']:+.3f}, {gain['high']:+.3f}], p = {gain['p_value']:.3f} (paired bootstrap)"
        )


def print_final(console: Console, final: Mapping[str, Any], dev_p1: Sequence[float]) -> None:
    """Print a run's end: students, teacher, cost."""
    if not console.speaks:
        return
    if "by_name" in final:
        print_students(console, final, {f"cycle {i}": value for i, value in enumerate(dev_p1)})
    teacher = final["teacher"]
    if "p@1" in teacher:
        print(
            f"teacher on {teacher['documents']:,} training documents: P@1 {teacher['p@1']:.3f} "
            f"(untuned student: {teacher['student_p@1']:.3f}; "
            f"{teacher['candidates_recall']:.1%} of their gold was among the candidates)"
        )
    rate = "none" if teacher["yes_rate"] is None else f"{teacher['yes_rate']:.1%}"
    print(
        f"yes-rate {rate}, unread {teacher['unread']:,} of {teacher['answers']:,}; judgements made "
        f"{final['judgements']:,}, from the store {final['from_store']:,}; {final['seconds']:.0f} s"
    )


def _heading(metric: str) -> str:
    return metric.upper().replace("NDCG", "nDCG")
