"""The end of a run: test gold is unsealed, untuned and trained students are measured, the final line written."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.evaluate import (
    LabelCounts,
    compare,
    count_train_labels,
    intervals,
    rank_labels,
    score_labels,
    score_teacher,
)
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.metrics.ranking import RankingScores
from lmteach.search.shortlist import Shortlist
from lmteach.tracking.run_folder import RunFolder
from lmteach.tracking.tables import print_final, print_students
from lmteach.tracking.test_scores import TestScores, name_documents

SUMMED = ("judgements", "from_store", "prompt_tokens", "answer_tokens", "teacher_seconds", "usd")


def finish_run(
    context: RunContext,
    folder: RunFolder,
    n_cycles: int,
    best: int,
    seconds: float,
    also: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Measure a trained run on held-out gold, write the final line, print the table.

    Several ranks encode test documents and labels together; the first does the rest, the others return nothing.

    Args:
        best: the cycle whose student was kept.
        seconds: what the run took up to here, in this process.
        also: further students to measure beside the cycles', by name.
    """
    started = time.monotonic()
    events = cycle_events(folder)[:n_cycles]
    final: dict[str, Any] = {"event": "final", "best_cycle": best, "cycles": n_cycles}
    if context.corpus.test is not None and context.corpus.test.has_gold:
        students: dict[str, Path | None] = {"untuned": None}
        if context.recipe.warmup.teacher:
            students["warm-up"] = folder.path / "warmup" / "student"
        students |= also or {}
        students |= {f"cycle {number}": folder.cycle(number) / "student" for number in range(n_cycles)}
        final |= measure(context, students, f"cycle {best}", folder)
    if not context.ranks.is_first:
        return {}
    final["teacher"] = _teacher_summary(context, folder, events)
    final |= {name: sum(event.get(name, 0) for event in events) for name in SUMMED}
    joules = [event["joules"] for event in events if event.get("joules") is not None]
    final["joules"] = sum(joules) if joules else None
    # A cycle that was killed and begun again tells only of its second attempt; what was spent tells of both.
    final["judgements"] = max(final["judgements"], context.budget.spent.judgements)
    final["seconds"] = max(seconds, sum(event["seconds"] for event in events)) + time.monotonic() - started
    folder.log(final)
    print_final(context.console, final, [event["dev_p1"] for event in events])
    return final


def cycle_events(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the last line of each cycle in metrics.jsonl, by number; a killed run may have written one twice."""
    cycles = {event["cycle"]: event for event in folder.events() if event.get("event") == "cycle"}
    return [cycles[number] for number in sorted(cycles)]


def evaluate_run(context: RunContext, folder: RunFolder) -> dict[str, Any]:
    """Measure a finished run's student beside the untuned one; write a line `{"event": "evaluation", ...}`.

    Raises:
        RunError: the corpus has no test documents with gold.
    """
    context.need_test_gold()
    students = {"untuned": None, "best": folder.student}
    result = {"event": "evaluation"} | measure(context, students, "best", folder)
    folder.log(result)
    print_students(context.console, result, {})
    return result


def measure(
    context: RunContext, students: Mapping[str, Path | None], chosen: str, folder: RunFolder
) -> dict[str, Any]:
    """Unseal test gold and score students on it; `None` is the untuned student, and must be called `untuned`.

    What each test document scored by the untuned and the chosen student is kept in the run folder.

    Returns:
        `untuned` and `student` (the chosen one): metrics by name; `by_name`; `intervals` by name and metric;
        `gain` of the chosen over the untuned; `test_documents`. Nothing on ranks other than the first.
    """
    test, deepest = context.corpus.test, max(context.recipe.evaluation.ks)
    assert test is not None
    ranked = {
        name: rank_labels(context, context.new_encoder(path), test, deepest)
        for name, path in students.items()
    }
    if not context.ranks.is_first:
        return {}
    test.unseal()
    counted = count_train_labels(context)
    scores = {name: score_labels(context, ids, test, counted) for name, (ids, _) in ranked.items()}
    kept = {name: ranked[name] for name in ("untuned", chosen)}
    keep_test_scores(context, folder, kept, scores, chosen, counted)
    gain = compare(context, scores["untuned"], scores[chosen])
    return {
        "untuned": scores["untuned"].means(),
        "student": scores[chosen].means(),
        "by_name": {name: score.means() for name, score in scores.items()},
        "intervals": {
            name: {metric: [bound.low, bound.high] for metric, bound in intervals(context, score).items()}
            for name, score in scores.items()
        },
        "gain": {metric: dataclasses.asdict(difference) for metric, difference in gain.items()},
        "chosen": chosen,
        "test_documents": scores["untuned"].n_documents,
    }


def keep_test_scores(
    context: RunContext,
    folder: RunFolder,
    ranked: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]],
    scores: Mapping[str, RankingScores],
    chosen: str,
    counted: LabelCounts | None,
) -> None:
    """Write what students said of each test document, for comparisons and reports."""
    test = context.corpus.test
    assert test is not None
    TestScores(
        documents=name_documents(test.ids, test.gold, context.corpus.labels.names),
        n_documents=len(test),
        chosen=chosen,
        values={name: scores[name].values for name in ranked},
        rows_m=np.flatnonzero(np.diff(test.gold.indptr) > 0),
        gold=test.gold,
        label_ids={name: ids.astype(np.int32) for name, (ids, _) in ranked.items()},
        scores={name: found for name, (_, found) in ranked.items()},
        label_counts_l=np.zeros(0, dtype=np.int64) if counted is None else counted.counts_l,
    ).save(folder.path)


def _teacher_summary(context: RunContext, folder: RunFolder, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return yes-rate and unread answers over all cycles, and the first cycle's verdicts against gold."""
    answers, unread, positives = (
        sum(event[name] for event in events) for name in ("answers", "unread", "positives")
    )
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
