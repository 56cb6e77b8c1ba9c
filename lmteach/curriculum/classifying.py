"""A classifier's run: label, read, train stage by stage, then one look at held-out gold.

stages/NN/student   of each stage but the last
student/            the last stage's: body, classes, and what its training measured (training.json)
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach import weights
from lmteach.corpus.texts import Texts
from lmteach.curriculum.beginning import begin_run
from lmteach.curriculum.class_scores import evaluate_classifier
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.learning import learn_in_cycles, learning_curve, learns_in_cycles
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.curriculum.supervision import LabelledTexts, label_documents
from lmteach.curriculum.teacher_labels import teacher_summary
from lmteach.curriculum.tracked import track_final, tracking
from lmteach.recipe.schema import Recipe
from lmteach.students.class_student import ClassifierStudent
from lmteach.students.open_classifier import new_student, reopen_student
from lmteach.teaching.store import Store
from lmteach.tracking.class_tables import print_classifier
from lmteach.tracking.console import Console
from lmteach.tracking.figures import epochs
from lmteach.tracking.run_folder import RunFolder, read_json, write_json, write_whole

if TYPE_CHECKING:
    from lmteach.curriculum.class_training import ClassExamples

TRAINING = "training.json"


def run_classifier(
    recipe: Recipe, folder: RunFolder, console: Console, ranks: Ranks = SOLO
) -> dict[str, Any]:
    """Do what of a classifier's run is not done yet; return the final line of metrics.jsonl.

    Args:
        folder: claimed for this recipe.
    """
    started = time.monotonic()
    store = None if recipe.supervision == "gold" else Store.open(recipe.run.store, run=recipe.name)
    with contextlib.ExitStack() as opened:
        if store is not None:
            opened.enter_context(store)
        trackers = opened.enter_context(tracking(recipe, folder, console.say))
        context = ranks.first_then_rest(lambda: open_context(recipe, console, store=store))
        context.ranks, context.trackers = ranks, trackers
        begin_run(context, folder, _fingerprints)
        done = ranks.share(folder.student.is_dir())
        if not done and learns_in_cycles(recipe):
            learn_in_cycles(context, folder, train_into)
        elif not done:
            stages = label_documents(context, folder)
            for number, labelled in enumerate(stages):
                _run_stage(context, folder, labelled, number, last=number == len(stages) - 1)
        return ranks.share(_finish(context, folder, started))


def evaluate_classifier_run(context: RunContext, folder: RunFolder) -> dict[str, Any]:
    """Measure a finished run's classifier again; write a line `{"event": "evaluation", ...}`.

    Raises:
        RunError: the corpus has no test documents with gold.
    """
    context.need_test_gold()
    student = reopen_student(folder.student, context.recipe)
    result = {"event": "evaluation", "kind": "classifier", **evaluate_classifier(context, student, folder)}
    folder.log(result)
    print_classifier(context.console, result)
    return result


def _run_stage(
    context: RunContext, folder: RunFolder, labelled: LabelledTexts, number: int, *, last: bool
) -> None:
    """Train on one stage's texts, from where the last stage ended; nothing where it is done."""
    target = folder.student if last else _stage(folder, number)
    start = _stage(folder, number - 1) if number else None
    train_into(context, folder, labelled, target, number, start=start)


def train_into(
    context: RunContext,
    folder: RunFolder,
    labelled: LabelledTexts,
    target: Path,
    number: int,
    *,
    start: Path | None = None,
) -> None:
    """Train on labelled texts and write the student to `target`; nothing where it is there.

    Args:
        number: of the stage or cycle.
        start: the student to go on from; None = the pretrained one.
    """
    ranks = context.ranks
    if ranks.share(target.is_dir()):
        return
    recipe, console = context.recipe, context.console
    seed = recipe.seed + number
    import lightning

    from lmteach.curriculum.class_training import train_classifier

    lightning.seed_everything(seed, workers=True, verbose=False)  # the head's first weights are drawn
    labels = context.corpus.labels.names
    student = new_student(recipe, labels) if start is None else reopen_student(start, recipe, train=True)
    train, validation = labelled.split(recipe.training.validation, recipe.seed)
    console.say(
        f"stage {number}: {len(train):,} texts to learn, {len(validation or ()):,} to choose the epoch"
    )
    started = time.monotonic()
    learned, chosen_by = _read_examples(context, student, train, validation)
    student.prepare(learned.inputs, len(train))
    read_seconds = time.monotonic() - started
    loggers = context.trackers.training_loggers(f"stage-{number:02d}")
    measured = train_classifier(student, learned, chosen_by, recipe, console, seed, ranks, loggers)
    measured |= {"documents": float(len(train)), "read_seconds": read_seconds}

    def keep() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, lambda path: _save(student, path, measured))
        folder.log({"event": "stage", "stage": number, **measured})

    ranks.first_alone(keep)
    context.trackers.metrics(measured, "stage", number)
    chosen = f", validation accuracy {measured['validation_accuracy']:.3f}" if validation is not None else ""
    console.say(f"stage {number}: loss {measured['loss']:.4f} after {epochs(measured['epochs'])}{chosen}")


def _read_examples(
    context: RunContext, student: ClassifierStudent, train: LabelledTexts, validation: LabelledTexts | None
) -> tuple[ClassExamples, ClassExamples | None]:
    """Return texts to learn and to choose the epoch by, as the student's body takes them.

    Both, and the test documents, are read together, so that a backbone is loaded once; the other ranks find what
    the first has kept of it.
    """
    from lmteach.curriculum.class_training import ClassExamples

    texts = Texts([train.texts, *([] if validation is None else [validation.texts]), *_test_texts(context)])
    inputs = context.ranks.first_then_rest(lambda: student.read(texts, context.console))
    learned = ClassExamples(inputs, train.targets_nC, train.weights_n)
    if validation is None:
        return learned, None
    return learned, ClassExamples(inputs, validation.targets_nC, validation.weights_n, start=len(train))


def _test_texts(context: RunContext) -> list[Texts]:
    """Return what frozen backbones will have to read at the run's end: they may as well read it now."""
    test = context.corpus.test
    if test is None or context.recipe.student.tuning != "frozen":
        return []
    return [Texts.of(test)]


def _save(student: ClassifierStudent, path: Path, measured: dict[str, float]) -> None:
    student.body.to("cpu")
    student.save(path)
    write_json(path / TRAINING, measured)


def _stage(folder: RunFolder, number: int) -> Path:
    return folder.path / "stages" / f"{number:02d}" / "student"


def _finish(context: RunContext, folder: RunFolder, started: float) -> dict[str, Any]:
    """Unseal test gold, measure, write the final line, print the table; ranks but the first only take part in it."""
    test, measured = context.corpus.test, {}
    if test is not None and test.has_gold:
        measured = evaluate_classifier(context, reopen_student(folder.student, context.recipe), folder)
    if not context.ranks.is_first:
        return {}
    stages = [_stage(folder, number) for number in range(len(list(folder.path.glob("stages/*"))))]
    training = [read_json(path / TRAINING) for path in [*stages, folder.student]]
    final: dict[str, Any] = {
        "event": "final",
        "kind": "classifier",
        "supervision": context.recipe.supervision,
        "stages": training,
        **measured,
    }
    if context.recipe.supervision != "gold":
        final["teacher"] = teacher_summary(folder)
    if curve := learning_curve(folder):
        final["curve"] = curve
    final["train_seconds"] = sum(stage["train_seconds"] for stage in training)
    final["seconds"] = time.monotonic() - started
    final |= _spent(context)
    folder.log(final)
    print_classifier(context.console, final)
    track_final(context, folder, final)
    return final


def _spent(context: RunContext) -> dict[str, Any]:
    """Return what labelling took: over all attempts where that is kept, else in this process."""
    counters, spent = context.counters, context.budget.spent
    return {
        "judgements": max(counters.made, spent.judgements),
        "from_store": counters.from_store,
        "prompt_tokens": counters.usage.prompt_tokens,
        "answer_tokens": counters.usage.answer_tokens,
        "teacher_seconds": counters.usage.seconds,
        "usd": max(counters.usage.usd, spent.usd),
        "joules": counters.usage.joules,
    }


def _fingerprints(context: RunContext) -> dict[str, Any]:
    """Return what a run stands on: the corpus's content, the weights it starts from, the teacher's identity."""
    student = context.recipe.student
    frozen = student.tuning == "frozen"
    models = [b.model for b in student.backbones] if frozen else [str(student.encoder["model"])]
    found: dict[str, Any] = {
        "corpus": context.corpus.fingerprint,
        "student_start": [
            {"model": m, "fingerprint": weights.fingerprint(weights.resolve(m))} for m in models
        ],
    }
    if context.recipe.supervision != "gold":
        with (
            context.teacher() as teacher
        ):  # one that cannot be built stops the run before it has cost anything
            found["teacher"] = teacher.identity
    return found
