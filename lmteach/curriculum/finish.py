"""The end of a run: test gold is unsealed, untuned and trained students are measured, the table is printed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.evaluate import compare, evaluate_student, intervals, score_teacher
from lmteach.curriculum.labelling import JudgedShortlist
from lmteach.metrics.intervals import Interval
from lmteach.search.shortlist import Shortlist
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder


def finish_run(
    context: RunContext, folder: RunFolder, n_cycles: int, best: int, seconds: float
) -> dict[str, Any]:
    """Measure a trained run on held-out gold, write the final line, print the table.

    Args:
        best: the cycle whose student was kept.
        seconds: what the run took up to here, in this process.
    """
    started = time.monotonic()
    cycles = [event for event in folder.events() if event.get("event") == "cycle"]
    cycles = list({event["cycle"]: event for event in cycles}.values())
    final: dict[str, Any] = {"event": "final", "best_cycle": best, "cycles": n_cycles}
    test = context.corpus.test
    if test is not None and test.has_gold:
        test.unseal()
        scores = {"untuned": evaluate_student(context, context.new_encoder(), test)}
        for number in range(n_cycles):
            encoder = context.new_encoder(folder.cycle(number) / "student")
            scores[f"cycle {number}"] = evaluate_student(context, encoder, test)
        scores["student"] = scores[f"cycle {best}"]
        bounds = {name: intervals(context, score) for name, score in scores.items()}
        gain = compare(context, scores["untuned"], scores["student"])
        final |= {
            "untuned": scores["untuned"].means(),
            "student": scores["student"].means(),
            "by_cycle": [scores[f"cycle {number}"].means() for number in range(n_cycles)],
            "intervals": {
                name: {metric: [i.low, i.high] for metric, i in by_metric.items()}
                for name, by_metric in bounds.items()
            },
            "gain": {metric: dataclasses.asdict(difference) for metric, difference in gain.items()},
            "test_documents": scores["untuned"].n_documents,
        }
    final["teacher"] = _teacher_summary(context, folder, cycles)
    for name in ("judgements", "from_store", "prompt_tokens", "teacher_seconds", "usd"):
        final[name] = sum(event[name] for event in cycles)
    final["seconds"] = max(seconds, sum(event["seconds"] for event in cycles)) + time.monotonic() - started
    folder.log(final)
    print_table(context.console, final, cycles)
    return final


def _teacher_summary(
    context: RunContext, folder: RunFolder, cycles: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return yes-rate and unread share over all cycles, and the first cycle's verdicts against gold."""
    answers = sum(event["answers"] for event in cycles)
    unread = sum(event["unread"] for event in cycles)
    positives = sum(event["positives"] for event in cycles)
    summary: dict[str, Any] = {
        "yes_rate": positives / (answers - unread) if answers > unread else None,
        "unread": unread,
        "answers": answers,
    }
    documents = context.corpus.train
    if documents.has_gold:
        first = folder.cycle(0)
        positions = Shortlist.load(first / "shortlist.npz").positions_q
        judged = JudgedShortlist.load(first / "verdicts.npz")
        scored = score_teacher(judged, documents.gold.take(positions))
        if scored is not None:
            summary |= {
                "p@1": scored.p1,
                "student_p@1": scored.student_p1,
                "candidates_recall": scored.found,
                "documents": scored.n_documents,
            }
    return summary


SHOWN = ("p@1", "p@3", "p@5", "r@10", "ndcg@5")


def print_table(console: Console, final: Mapping[str, Any], cycles: list[dict[str, Any]]) -> None:
    """Print untuned student, each cycle and the best against held-out gold, then the teacher and the cost."""
    if "untuned" in final:
        shown = [metric for metric in SHOWN if metric in final["untuned"]]
        rows = [_row("untuned", final["untuned"], final["intervals"]["untuned"], shown, "")]
        for number, means in enumerate(final["by_cycle"]):
            event = cycles[number]
            rows.append(
                _row(f"cycle {number}", means, final["intervals"][f"cycle {number}"], shown, f"{event['dev_p1']:.3f}")
            )
        rows.append(_row(f"best (cycle {final['best_cycle']})", final["student"], final["intervals"]["student"], shown, ""))
        console.table(
            f"{final['test_documents']:,} held-out documents, 95% bootstrap intervals",
            ["student", *(metric.upper().replace("NDCG", "nDCG") for metric in shown), "dev P@1"],
            rows,
        )
        gain = final["gain"].get("p@1")
        if gain:
            print(
                f"P@1 gained over the untuned student: {gain['difference']:+.3f} "
                f"[{gain['low']:+.3f}, {gain['high']:+.3f}], p = {gain['p_value']:.3f} (paired bootstrap)"
            )
    teacher = final["teacher"]
    if "p@1" in teacher:
        print(
            f"teacher on {teacher['documents']:,} training documents: P@1 {teacher['p@1']:.3f} "
            f"(the untuned student's first label: {teacher['student_p@1']:.3f}; "
            f"{teacher['candidates_recall']:.1%} of gold was among the candidates)"
        )
    rate = "none" if teacher["yes_rate"] is None else f"{teacher['yes_rate']:.1%}"
    print(
        f"yes-rate {rate}, unread {teacher['unread']:,} of {teacher['answers']:,}; judgements made "
        f"{final['judgements']:,}, from the store {final['from_store']:,}; {final['seconds']:.0f} s"
    )


def _row(
    name: str, means: Mapping[str, float], bounds: Mapping[str, Any], shown: list[str], dev: str
) -> list[str]:
    cells = []
    for metric in shown:
        bound = bounds[metric]
        low, high = (bound.low, bound.high) if isinstance(bound, Interval) else bound
        cells.append(f"{means[metric]:.3f} [{low:.3f}, {high:.3f}]")
    return [name, *cells, dev]
