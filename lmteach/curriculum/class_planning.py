"""What a classifier's recipe would ask of its teacher: each document once a prompt, with all classes as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.class_teacher import (
    AskedClasses,
    ClassJudgements,
    asked_classes,
    teacher_sections,
)
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.planning import Groundwork, Stage, made_up_length, planned_positions
from lmteach.curriculum.probing import ROWS_LOOKED_AT, Probe, probe_context, time_teachers
from lmteach.recipe.schema import Recipe
from lmteach.teaching.planning import TeacherPart, teacher_parts
from lmteach.tracking.console import Console
from lmteach.types import Judgement

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents

NEXT = 1000  # labels more, whose price a plan tells


def class_parts(recipe: Recipe) -> list[TeacherPart]:
    """Return every teacher that is asked: the parts of the recipe's, and them again for each paraphrase."""
    return [part for section in teacher_sections(recipe) for part in teacher_parts(section) if part.judges]


def class_stages(
    work: Groundwork, context: RunContext | None, *, look: bool, empty: bool = False
) -> list[Stage]:
    """Return every labelling that the recipe's regime and curriculum ask for.

    Args:
        look: whether what is missing can be looked up in the store.
        empty: whether there is no store, so that nothing is there.
    """
    recipe, stages = work.recipe, []
    wanted: list[tuple[int, str, npt.NDArray[np.int64]]] = []
    if recipe.supervision in ("teacher", "teacher_extra"):
        wanted += [(cycle, "train", positions) for cycle, positions in planned_positions(work)]
    if recipe.supervision != "teacher":
        wanted.append((0, "extra", np.arange(work.sizes.extra, dtype=np.int64)))
    for cycle, split, positions in wanted:
        n_pairs = len(positions) * work.sizes.labels * len(work.parts)
        n_missing, n_documents, exact = n_pairs, len(positions), empty or not n_pairs
        if look and context is not None and cycle == 0:  # later ones depend on the student
            documents = context.corpus.train if split == "train" else context.corpus.extra
            assert documents is not None
            n_missing, n_documents = _missing(context, documents, positions)
            exact = True
        stages.append(Stage(cycle, split, len(positions), n_pairs, n_missing, n_documents, exact))
    return stages


def next_labels(work: Groundwork) -> Stage:
    """Return the labelling of 1,000 documents more."""
    n_pairs = NEXT * work.sizes.labels * len(work.parts)
    return Stage(0, "next", NEXT, n_pairs, n_pairs, NEXT, True)


def class_sample(work: Groundwork, n: int) -> list[Judgement]:
    """Return judgements like those the run will make; one made up, of full length, where texts are missing."""
    if work.corpus is None:
        n, settings = work.sizes.labels, work.recipe.classes
        names = [*settings.names.values(), *(f"a class {i}" for i in range(n))][:n]
        said = [*settings.descriptions.values(), *[""] * n][:n]
        classes = AskedClasses(tuple(names), tuple(said) if any(said) else ())
        return [classes.of_text("word " * made_up_length(work.parts))]
    context = RunContext(work.recipe, work.corpus, Console(quiet=True))
    rng = np.random.default_rng([work.recipe.seed, *b"plan"])
    drawn = rng.permutation(work.sizes.train)[:n].astype(np.int64)
    return list(ClassJudgements(work.corpus.train, drawn, asked_classes(context)))


def probe_classes(work: Groundwork, console: Console, n: int) -> Probe | None:
    """Label n documents that the run would label, one more before them to load the teacher, and time it.

    None where the store answers all that was looked at, or there are no texts.

    Raises:
        TeacherError: the teacher cannot answer.
    """
    if work.corpus is None or not work.parts:
        return None
    with probe_context(work, work.corpus, console) as context:
        _, positions = next(iter(planned_positions(work)))
        some = np.random.default_rng([work.recipe.seed, *b"probe"]).permutation(positions)[:ROWS_LOOKED_AT]
        judgements = ClassJudgements(work.corpus.train, some, asked_classes(context))
        return time_teachers(context, teacher_sections(work.recipe), judgements, n)


def _missing(context: RunContext, documents: Documents, positions: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the pairs that the store lacks, over all prompts, and the documents that have one."""
    judgements = ClassJudgements(documents, positions, asked_classes(context))
    n_pairs, lacking = 0, np.zeros(len(judgements), np.bool_)
    for section in teacher_sections(context.recipe):
        with context.teacher(section) as teacher:
            counts: Sequence[int] = []
            for start in range(0, len(judgements), ROWS_LOOKED_AT):
                part = judgements[start : start + ROWS_LOOKED_AT]
                counts = [*counts, *teacher.n_missing(part)]  # type: ignore[attr-defined]
        n_pairs += sum(counts)
        lacking |= np.asarray(counts, dtype=np.int64) > 0
    return n_pairs, int(lacking.sum())
