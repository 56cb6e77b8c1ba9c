"""A run's life: cycles of labelling and training, then one look at held-out gold. The one file that knows it whole.

A cycle's state is files on disk, each written whole or not at all: to resume is to skip what is there.
Where a run is several processes, its ranks all go through here; the first writes and speaks (`ranks.py`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmteach import registry, weights
from lmteach.corpus.corpus import LabelSet
from lmteach.curriculum.beginning import begin_run
from lmteach.curriculum.claim import claimed_folder
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.finish import cycle_events, finish_run
from lmteach.curriculum.joining import SCRATCH, Place, find_place, joined_ranks, n_ranks, started_ranks
from lmteach.curriculum.judging import JudgedShortlist, judge_or_load
from lmteach.curriculum.labelling import make_pseudo_labels
from lmteach.curriculum.protocol import Curriculum, CycleResult, CycleState
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.curriculum.shortlisting import encode_labels, make_or_load_shortlist
from lmteach.curriculum.tracked import track_cycle, track_final, tracking
from lmteach.curriculum.training import train_student
from lmteach.curriculum.warmup import warm_up
from lmteach.recipe.check import check_recipe
from lmteach.recipe.schema import Recipe
from lmteach.students.label_set import save_index, save_labels
from lmteach.teaching.annotations import Annotations
from lmteach.teaching.cost import Counters
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder, read_json, write_json, write_whole
from lmteach.tracking.tables import print_final


def fit(recipe: Recipe, console: Console, *, resume: bool = False) -> dict[str, Any]:
    """Teach a student by a recipe; return the final line of metrics.jsonl.

    Args:
        resume: go on in an existing run folder; without it one that exists is an error.

    Raises:
        RecipeError: the recipe contradicts itself or does not fit the corpus.
        RunError: the run folder is in use, exists, or holds another recipe.
        TeacherError, StoreError, CorpusError: see there; what was judged is in the store.
    """
    check_recipe(recipe)
    place = find_place(recipe.trainer)
    if place is not None:
        return _fit_launched(recipe, console, place, resume)
    with claimed_folder(recipe, resume=resume) as folder:
        if (final := finished(recipe, folder, console)) is not None:
            return final
        if n_ranks(recipe.trainer) == 1:
            return run_part(recipe, folder, console, SOLO)
        with started_ranks(recipe, folder.path) as ranks:
            return run_part(recipe, folder, console, ranks)


def _fit_launched(recipe: Recipe, console: Console, place: Place, resume: bool) -> dict[str, Any]:
    """Be one of the ranks that torchrun or SLURM started: the first claims the folder for all."""
    with joined_ranks(place, recipe.trainer) as ranks:
        if not ranks.is_first:
            told: dict[str, Any] = ranks.share({})
            folder = RunFolder(Path(told["folder"]))
            ranks.scratch = folder.path / SCRATCH
            final: dict[str, Any] = told["final"] or run_part(recipe, folder, console, ranks)
            return final
        with claimed_folder(recipe, resume=resume) as folder:
            ranks.scratch = folder.path / SCRATCH
            done = finished(recipe, folder, console)
            ranks.share({"folder": str(folder.path), "final": done})
            return done or run_part(recipe, folder, console, ranks)


def finished(recipe: Recipe, folder: RunFolder, console: Console) -> dict[str, Any] | None:
    """Return a finished run's final line, printed again; None where there is something left to do."""
    finals = [event for event in folder.events() if event.get("event") == "final"]
    if not finals:
        return None
    console.say(f"{folder.path} is finished already; nothing was done again.")
    _print_finished(recipe, folder, console, finals[-1])
    return finals[-1]


def run_part(recipe: Recipe, folder: RunFolder, console: Console, ranks: Ranks) -> dict[str, Any]:
    """Do this rank's part of a run whose folder is claimed; return the final line of metrics.jsonl."""
    if recipe.student.kind == "classifier":
        from lmteach.curriculum.classifying import run_classifier

        return run_classifier(recipe, folder, console, ranks)
    return _run(recipe, folder, console, ranks)


def _print_finished(recipe: Recipe, folder: RunFolder, console: Console, final: dict[str, Any]) -> None:
    if recipe.student.kind == "classifier":
        from lmteach.tracking.class_tables import print_classifier

        print_classifier(console, final)
    else:
        print_final(console, final, [event["dev_p1"] for event in cycle_events(folder)])


def _run(recipe: Recipe, folder: RunFolder, console: Console, ranks: Ranks) -> dict[str, Any]:
    started = time.monotonic()
    with (
        Store.open(recipe.run.store, run=recipe.name) as store,
        tracking(recipe, folder, console.say) as trackers,
    ):
        context = ranks.first_then_rest(lambda: open_context(recipe, console, store=store))
        context.trackers, context.ranks = trackers, ranks
        begin_run(context, folder, fingerprints_of)
        curriculum: Curriculum = registry.build("curriculum", recipe.curriculum)
        start = warm_up(context, folder)
        history: list[CycleResult] = []
        while not history or (len(history) < curriculum.max_cycles and curriculum.keep_going(history)):
            history.append(_run_cycle(context, curriculum, folder, len(history), start))
        best = max(range(len(history)), key=lambda i: history[i].dev_p1)
        student = folder.cycle(best) / "student"
        keep_student(context, student, folder)
        console.say(f"best: cycle {best}, dev P@1 by the teacher {history[best].dev_p1:.3f}")
        final = finish_run(context, folder, len(history), best, time.monotonic() - started)
        if ranks.is_first:
            track_final(context, folder, final)
        return ranks.share(final)


def fingerprints_of(context: RunContext) -> dict[str, Any]:
    """Return what a run stands on: the corpus's content, the teacher's identity, the student's first weights.

    The teacher is built for it, so that one that cannot be stops a run before it has cost anything.
    """
    with context.teacher() as teacher:
        identity = teacher.identity
    model = context.recipe.student.encoder.get("model")
    start = {"model": model, "fingerprint": weights.fingerprint(weights.resolve(model))} if model else None
    return {"corpus": context.corpus.fingerprint, "teacher": identity, "student_start": start}


def keep_student(
    context: RunContext, student: Path, folder: RunFolder, labels: LabelSet | None = None
) -> None:
    """Copy a cycle's student to `student/`, with the label set and label vectors it needs to serve alone.

    Args:
        labels: the label set it serves; the corpus's if None.
    """
    ranks, labels = context.ranks, labels or context.corpus.labels
    if ranks.share(folder.student.is_dir()):
        return
    vectors = encode_labels(context, context.new_encoder(student), labels.texts)

    def write(path: Path) -> None:
        shutil.copytree(student, path)
        save_labels(path, labels.names, labels.texts, vectors)
        save_index(path, context.recipe.search.searcher, vectors)

    ranks.first_alone(lambda: write_whole(folder.student, write))


def _run_cycle(
    context: RunContext, curriculum: Curriculum, run: RunFolder, number: int, start: Path | None
) -> CycleResult:
    """Do what of a cycle is not done yet; return what it measured.

    Args:
        start: the student that training starts from; None = the pretrained one.
    """
    folder = run.cycle(number)
    done, ranks = folder / "cycle.json", context.ranks
    if found := ranks.share(read_json(done) if done.is_file() else None):
        track_cycle(context, run, found)
        return CycleResult(number, found["dev_p1"], found["positives"])
    console, recipe = context.console, context.recipe
    console.say(f"cycle {number}")
    started, before = time.monotonic(), context.counters.copy()
    last = run.cycle(number - 1) / "student" if number else start
    trained: dict[str, float] = {}
    if not ranks.share((folder / "student").is_dir()):
        state = CycleState(number, len(context.corpus.train), recipe.seed)
        positions = curriculum.select(state)
        student = context.new_encoder(last if recipe.student.start == "previous" else start)
        trained = train_student(
            student,
            lambda: make_pseudo_labels(context, context.new_encoder(last), positions, folder),
            recipe,
            console,
            seed=recipe.seed + number,
            loggers=context.trackers.training_loggers(f"cycle-{number:02d}"),
            ranks=ranks,
        )
        student.to("cpu")  # type: ignore[attr-defined]
        ranks.first_alone(lambda: write_whole(folder / "student", student.save))
    else:
        student = context.new_encoder(folder / "student")
    return end_cycle(context, run, number, student, Attempt(started, before, trained))


@dataclass(frozen=True)
class Attempt:
    """What a cycle knew when this process took it up.

    Attributes:
        started: by `time.monotonic`.
        before: what the run had counted by then.
        trained: what training said of itself; empty where it was done before.
    """

    started: float
    before: Counters
    trained: Mapping[str, float]


def end_cycle(
    context: RunContext, run: RunFolder, number: int, student: Any, attempt: Attempt
) -> CycleResult:
    """Mark a trained cycle on dev documents, and write what became of it."""
    console, folder = context.console, run.cycle(number)
    annotations = Annotations.load(folder / "annotations.npz")
    dev_p1 = judge_dev(context, student, annotations, folder)
    spent = context.counters - attempt.before
    event = {
        "event": "cycle",
        "cycle": number,
        "dev_p1": dev_p1,
        "documents": annotations.counts.n_documents,
        "trained_on": len(annotations.with_positives),
        "positives": annotations.counts.n_positives,
        "yes_rate": annotations.counts.yes_rate,
        "unread": annotations.counts.n_unread,
        "answers": annotations.counts.n_answers,
        "judgements": spent.made,
        "from_store": spent.from_store,
        "prompt_tokens": spent.usage.prompt_tokens,
        "answer_tokens": spent.usage.answer_tokens,
        "joules": spent.usage.joules,
        "teacher_seconds": spent.usage.seconds,
        "usd": spent.usage.usd,
        "seconds": time.monotonic() - attempt.started,
        **attempt.trained,
    }
    if context.ranks.is_first:
        run.log(event)
        write_json(folder / "cycle.json", event)
        track_cycle(context, run, event)
    console.say(
        f"cycle {number}: {annotations.counts.n_positives:,} positives on {event['trained_on']:,} documents "
        f"(yes {annotations.counts.yes_rate:.1%}), dev P@1 by the teacher {dev_p1:.3f}, {event['seconds']:.0f} s"
    )
    return CycleResult(number, dev_p1, annotations.counts.n_positives)


def judge_dev(context: RunContext, student: Any, annotations: Annotations, folder: Path) -> float:
    """Return the share of dev documents whose top label by `student` the teacher affirms (LMTX, section 3).

    Affirmed means by the same rule that made the pseudo-labels: a score above its cutoff, or, for the rule
    `top`, the best score of those judged. For `top` a teacher that counts the student's own scores in leaves
    them out here, else each student would vouch for itself; the other rules' cutoffs hold only with them in.
    """
    documents = context.corpus.dev
    assert documents is not None
    positions = np.arange(len(documents), dtype=np.int64)
    shortlist = make_or_load_shortlist(context, student, documents, positions, folder / "dev_shortlist.npz")
    rule, k = context.recipe.annotation.rule, context.recipe.dev.n_judged
    judged = judge_or_load(context, documents, shortlist, k, folder / "dev_verdicts.npz", blind=rule == "top")
    return affirmed_share(judged, rule, annotations.counts.cutoff)


def affirmed_share(judged: JudgedShortlist, rule: str, cutoff: float) -> float:
    """Return the share of documents whose first candidate is affirmed; unread or unjudged ones are not."""
    if not len(judged.scores_nk):
        return 0.0
    scores_nk = np.where(judged.judged_nk, np.nan_to_num(judged.scores_nk, nan=-np.inf), -np.inf)
    if rule == "top":
        affirmed = np.isfinite(scores_nk[:, 0]) & (scores_nk[:, 0] >= scores_nk.max(axis=1))
    else:
        affirmed = scores_nk[:, 0] > cutoff
    return float(affirmed.mean())
