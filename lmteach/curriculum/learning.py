"""A classifier's cycles: label some documents more, train on all of them anew, until the curve is flat.

cycles/NN/positions.npy   the documents that a cycle labelled
cycles/NN/labels/         the teacher's verdicts on them
cycles/NN/student/        trained on those of all cycles so far
cycles/NN/cycle.json      what it measured
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lmteach import registry
from lmteach.corpus.texts import Texts
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.labelled import LabelledTexts
from lmteach.curriculum.protocol import Curriculum, CycleResult, CycleState, Positions
from lmteach.curriculum.teacher_labels import embed, teacher_texts
from lmteach.errors import RecipeError
from lmteach.machine import choose_precision
from lmteach.recipe.schema import Recipe
from lmteach.tracking.run_folder import RunFolder, read_json, write_json, write_whole


class Train(Protocol):
    """Trains a student on labelled texts into a folder."""

    def __call__(
        self, context: RunContext, folder: RunFolder, labelled: LabelledTexts, target: Path, number: int
    ) -> None: ...


def learns_in_cycles(recipe: Recipe) -> bool:
    """Return whether a classifier's curriculum asks for more than one cycle.

    One that `relabels` does not: all classes are its candidates, so a better student changes no question.

    Raises:
        RecipeError: it does, and the labels are not a teacher's on training documents, or nothing is kept apart
            to measure a cycle by.
    """
    curriculum: Curriculum = registry.build("curriculum", recipe.curriculum)
    if curriculum.max_cycles == 1 or getattr(curriculum, "relabels", False):
        return False
    if recipe.supervision != "teacher":
        raise RecipeError(
            f"Cycles of labelling need supervision = teacher, not {recipe.supervision}.",
            where="curriculum.cycles",
        )
    if not recipe.training.validation:
        raise RecipeError(
            "A learning curve needs labels kept apart to measure it by.",
            where="training.validation",
            mend="Set training.validation=0.2, say.",
        )
    return True


def learn_in_cycles(context: RunContext, folder: RunFolder, train: Train) -> None:
    """Do what cycles are not done yet, and keep the last one's student as the run's."""
    curriculum: Curriculum = registry.build("curriculum", context.recipe.curriculum)
    history: list[CycleResult] = []
    labelled: LabelledTexts | None = None
    while not history or (len(history) < curriculum.max_cycles and curriculum.keep_going(history)):
        number = len(history)
        positions = _select(context, folder, curriculum, number)
        if not len(positions):
            context.console.say("every training document is labelled")
            break
        home = RunFolder(folder.cycle(number))
        more = teacher_texts(context, home, "train", positions)
        labelled = more if labelled is None else labelled.followed_by(more)
        train(context, folder, labelled, home.student, number)
        history.append(_measure(context, folder, number, len(labelled)))
    last = folder.cycle(len(history) - 1) / "student"
    context.ranks.first_alone(lambda: write_whole(folder.student, lambda path: shutil.copytree(last, path)))


def learning_curve(folder: RunFolder) -> list[dict[str, Any]]:
    """Return what each cycle of a classifier's run measured; empty where it had none."""
    return [read_json(path) for path in sorted(folder.path.glob("cycles/*/cycle.json"))]


def _select(context: RunContext, folder: RunFolder, curriculum: Curriculum, number: int) -> Positions:
    """Return the documents that a cycle labels, decided once."""
    path = folder.cycle(number) / "positions.npy"
    if not context.ranks.share(path.is_file()):
        before = [np.load(folder.cycle(n) / "positions.npy") for n in range(number)]
        state = CycleState(
            number,
            len(context.corpus.train),
            context.recipe.seed,
            np.sort(np.concatenate([np.zeros(0, np.int64), *before])),
            lambda positions: embed(context, Texts.of(context.corpus.train, positions)),
            _probabilities(context, folder.cycle(number - 1) / "student") if number else None,
        )
        chosen = curriculum.select(state)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, chosen)

        context.ranks.first_alone(lambda: write_whole(path, write))
    positions: Positions = np.load(path, allow_pickle=False)
    return positions


def _probabilities(context: RunContext, student_folder: Path) -> Any:
    """Return a function from positions of training documents to a student's class probabilities of them."""

    def compute(positions: Positions) -> npt.NDArray[np.float64]:
        from lmteach.students.class_student import logits_of, probabilities
        from lmteach.students.open_classifier import reopen_student

        student = reopen_student(student_folder, context.recipe)
        inputs = student.read(Texts.of(context.corpus.train, positions), context.console)
        precision = choose_precision(context.recipe.training.precision, context.device)
        logits_nC = logits_of(student, inputs, device=context.device, precision=precision)
        return probabilities(logits_nC, context.recipe.student.multilabel)

    return compute


def _measure(context: RunContext, folder: RunFolder, number: int, n_labelled: int) -> CycleResult:
    """Return what a cycle's training measured, and keep it."""
    home = folder.cycle(number)
    done = home / "cycle.json"
    if not context.ranks.share(done.is_file()):
        trained = read_json(home / "student" / "training.json")
        event = {
            "event": "cycle",
            "cycle": number,
            "labelled": n_labelled,
            "validation_accuracy": trained["validation_accuracy"],
            "validation_loss": trained["validation_loss"],
            "judgements": context.counters.made,
        }

        def keep() -> None:
            folder.log(event)
            write_json(done, event)

        context.ranks.first_alone(keep)
    found = read_json(done)
    context.console.say(
        f"cycle {number}: {found['labelled']:,} labelled, {found['validation_accuracy']:.1%} of those kept apart right"
    )
    return CycleResult(number, found["validation_accuracy"], found["labelled"])
