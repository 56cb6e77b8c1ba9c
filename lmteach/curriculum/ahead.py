"""The teacher's part of a run done ahead of it: the first cycle's judgements, into the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import judge, judgements_of
from lmteach.curriculum.known import run_path
from lmteach.curriculum.open_run import read_run
from lmteach.curriculum.shortlisting import build_index, find_candidates, make_shortlist_at
from lmteach.errors import RunError
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.cost import Counters
from lmteach.teaching.planning import TeacherPart, teacher_parts
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.engines.protocol import Engine
    from lmteach.recipe.schema import Recipe
    from lmteach.search.protocol import Searcher
    from lmteach.students.protocol import Encoder


@dataclass(frozen=True)
class Judged:
    """What became of one split's judgements; `counters` counts pairs. `stopped_by` names the cap reached."""

    split: str
    n_documents: int
    counters: Counters
    stopped_by: str


def annotate_ahead(
    context: RunContext, student: Path | None = None, engine: Engine | None = None
) -> list[Judged]:
    """Judge the candidates of the recipe's first cycle, training documents before dev, within its budget.

    The candidates are those that `fit` will find, so that the store answers it. `fit` asks about dev documents
    with the student it has trained by then, so of those only a part. Of several ranks each encodes and judges its
    share, as in `fit`; all return what was judged by all.

    Args:
        student: the student that makes the shortlists, in this process; None = the one that a run would begin
            with.
        engine: where the teacher judges; None = in this process.

    Raises:
        TeacherError, StoreError: see there; what was judged is in the store.
    """
    recipe, corpus = context.recipe, context.corpus
    if engine is not None:
        from lmteach.curriculum.spread import check_shared

        check_shared(engine, recipe.run.store)
    encoder = begin_student(context) if student is None else context.new_encoder(student)
    index = build_index(context, encoder)
    positions = context.first_positions()
    todo = [("train", corpus.train, positions, recipe.search.n_judged)]
    if corpus.dev is not None:
        todo.append(("dev", corpus.dev, np.arange(len(corpus.dev), dtype=np.int64), recipe.dev.n_judged))
    shortlists = [_candidates(context, encoder, index, docs, rows) for _, docs, rows, _ in todo]
    del encoder, index  # the teacher needs the room
    if engine is not None:
        return _judge_on(engine, context, todo, shortlists)
    judged = []
    with context.teacher() as teacher:
        for (split, documents, _, k), shortlist in zip(todo, shortlists, strict=True):
            before = context.counters.copy()
            said = judge(context, teacher, documents, shortlist, k)
            judged.append(Judged(split, len(shortlist), context.counters - before, said.stopped_by))
    return judged


def _judge_on(
    engine: Engine, context: RunContext, todo: Sequence[Any], shortlists: Sequence[Shortlist]
) -> list[Judged]:
    from lmteach.curriculum.asked_parts import Asked
    from lmteach.curriculum.spread import judge_on

    asked = [
        Asked(split, judgements_of(context, documents, shortlist, k))
        for (split, documents, _, k), shortlist in zip(todo, shortlists, strict=True)
    ]
    said = judge_on(engine, context, asked)
    return [
        Judged(a.split, len(a.judgements), counters, stopped_by)
        for a, (counters, stopped_by) in zip(asked, said, strict=True)
    ]


def _candidates(
    context: RunContext,
    encoder: Encoder,
    index: Searcher,
    documents: Documents,
    positions: npt.NDArray[np.int64],
) -> Shortlist:
    """Return documents' nearest labels; of several ranks the first searches for all."""
    if context.ranks.n == 1:
        return find_candidates(context, encoder, index, documents, positions)
    path = context.ranks.scratch / f"shortlist-{context.ranks.n_calls}.npz"
    return make_shortlist_at(path, context, encoder, index, documents, positions)


def begin_student(context: RunContext) -> Encoder:
    """Return the student that a run of the recipe begins with; a warm-up is done now, in the run's folder."""
    if not context.recipe.warmup.teacher:
        return context.new_encoder()
    from lmteach.curriculum.warmup import warm_up

    folder = RunFolder(run_path(context.recipe))
    with _locked(folder) if context.ranks.is_first else nullcontext():
        return context.new_encoder(warm_up(context, folder))


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    folder.lock()
    try:
        yield
    finally:
        folder.unlock()


def student_of(run: Path) -> Path:
    """Return the student of a run.

    Raises:
        RunError: this is no run folder, or it has no student yet.
    """
    folder, _ = read_run(run)
    return folder.trained_student()


def check_keeps(recipe: Recipe, resources: TeacherResources) -> list[Teacher]:
    """Return the recipe's teachers, unused, after making sure that the store would keep what they say.

    Raises:
        RunError: none of it would be kept, so working ahead is for nothing.
        PluginError, TeacherError: a teacher cannot be built here.
    """
    parts = [part for part in teacher_parts(recipe.teacher) if part.judges]
    built = [part.cls(part.config, resources) for part in parts]
    if all(teacher.scope == "none" for teacher in built):
        raise RunError(
            f"{_named(parts)} costs nothing and is never kept in the store, so there is nothing to do ahead.",
            where="teacher",
            mend="Run `lmteach fit` itself, or name another teacher: teacher.name=transformers.",
        )
    return built


def _named(parts: list[TeacherPart]) -> str:
    names = " and ".join(f"'{part.name}'" for part in parts)
    return f"What the teacher {names} says" if parts else "A recipe without a teacher that judges"
