"""What of a run is told to its trackers: metrics a cycle, tables of verdicts, files, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judged_cycle import JudgedCycle, open_cycle
from lmteach.metrics.agreement import UNREAD
from lmteach.recipe.schema import Recipe
from lmteach.teaching.audit_labels import find_disputes
from lmteach.tracking.run_folder import RunFolder, read_json, write_json
from lmteach.tracking.trackers import Artifact, Cell, TrackedRun, Trackers, open_trackers

TOLD = "told.json"  # in the run folder: the cycles that trackers know of, so that none is told twice or never
EXCERPT = 300  # characters of a document in a table


@contextmanager
def tracking(recipe: Recipe, folder: RunFolder, say: Callable[[str], None]) -> Iterator[Trackers]:
    """Start a run's trackers; close them at its end, as failed where it ends by an error."""
    run = TrackedRun(folder.path, recipe.name, dataclasses.asdict(recipe))
    trackers = open_trackers(recipe.tracking, run, say)
    try:
        yield trackers
    except BaseException:
        trackers.finish(failed=True)
        raise
    trackers.finish()


def track_cycle(context: RunContext, folder: RunFolder, event: Mapping[str, Any]) -> None:
    """Tell the trackers of a finished cycle, unless they were told before this process began."""
    trackers, number = context.trackers, int(event["cycle"])
    path = folder.path / TOLD
    told = read_json(path) if path.is_file() else []
    if not trackers or number in told:
        return
    trackers.metrics({k: v for k, v in event.items() if k != "cycle"}, "cycle", number)
    if trackers.wants_tables:
        _track_tables(context, folder, number)
    for artifact in _artifacts(context, folder, number):
        trackers.artifact(artifact)
    write_json(path, [*told, number])


def track_final(context: RunContext, folder: RunFolder, final: Mapping[str, Any]) -> None:
    """Tell the trackers how the run ended."""
    best = final.get("best_cycle")
    about = {"test": final.get("student", {}), "from_cycle": best}
    made_from = [] if best is None else [f"annotations-cycle-{best:02d}"]
    context.trackers.artifact(Artifact("student", "student", [folder.student], made_from, about))
    context.trackers.summary(summary_of(final))


def summary_of(final: Mapping[str, Any]) -> dict[str, Any]:
    """Return a final line as flat names and values: `test/p@1`, `untuned/p@1`, `teacher/yes_rate`, `judgements`."""
    flat: dict[str, Any] = {}
    for key, value in final.items():
        if key in ("by_name", "intervals", "event"):
            continue
        if not isinstance(value, Mapping):
            flat[key] = value
            continue
        for name, inner in value.items():
            number = inner["difference"] if key == "gain" and isinstance(inner, Mapping) else inner
            flat[f"{'test' if key == 'student' else key}/{name}"] = number
    return {name: v for name, v in flat.items() if isinstance(v, str | int | float) or v is None}


def _track_tables(context: RunContext, folder: RunFolder, number: int) -> None:
    documents = context.corpus.train
    gold = documents.gold if documents.has_gold else None
    cycle = open_cycle(folder.cycle(number), number, gold)
    if cycle is None:
        return
    n_rows, prefix = context.trackers.table_rows, f"cycle-{number:02d}"
    columns = ["document", "text", "place", "label", "cosine", "verdict", "said", "gold"]
    rows: list[list[Cell]] = []
    for row in range(len(cycle.shortlist)):
        if len(rows) >= n_rows:
            break
        rows += [_cells(context, cycle, row, place) for place in range(cycle.verdicts.label_ids_nk.shape[1])]
    context.trackers.table(f"{prefix}/shortlist", columns, rows)
    disputes = find_disputes(cycle.verdicts, (), n_rows)
    rows = [[d.kind, *_cells(context, cycle, d.row, d.place)] for d in disputes]
    if rows:
        context.trackers.table(f"{prefix}/disagreements", ["kind", *columns], rows)


def _cells(context: RunContext, cycle: JudgedCycle, row: int, place: int) -> list[Cell]:
    verdicts, shortlist = cycle.verdicts, cycle.shortlist
    position, label_id = int(shortlist.positions_q[row]), int(verdicts.label_ids_nk[row, place])
    documents, score = context.corpus.train, float(verdicts.scores_nk[row, place])
    vote = int(verdicts.votes_nk[row, place])
    asked = bool(verdicts.judged_nk[row, place])
    right: Cell = None if verdicts.gold is None else label_id in verdicts.gold.of(row)
    return [
        documents.ids[position],
        documents.texts([position])[0][:EXCERPT],
        place + 1,
        context.corpus.labels.names[label_id] if label_id >= 0 else "",
        float(shortlist.scores_qk[row, place]) if label_id >= 0 else None,
        None if np.isnan(score) else score,
        "not asked" if not asked else "unread" if vote == UNREAD else ("no", "yes")[vote],
        right,
    ]


def _artifacts(context: RunContext, folder: RunFolder, number: int) -> list[Artifact]:
    """Return a cycle's files, each naming what it was made from: W&B's lineage."""
    cycle, name = folder.cycle(number), f"cycle-{number:02d}"
    about = {"cycle": number, "corpus": context.corpus.fingerprint, "teacher": context.recipe.teacher["name"]}
    before = (
        [f"annotations-cycle-{number - 1:02d}"] if number else []
    )  # what taught the student that searched
    files = {key: cycle / f"{key}.npz" for key in ("shortlist", "verdicts", "annotations")}
    return [
        Artifact(f"shortlist-{name}", "shortlist", [files["shortlist"]], before, about),
        Artifact(
            f"annotations-{name}",
            "annotations",
            [files["verdicts"], files["annotations"]],
            [f"shortlist-{name}"],
            about,
        ),
    ]
