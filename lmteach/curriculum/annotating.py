"""The teacher's work ahead of a run, on as many processes as the recipe says: each judges its share.

.annotate-XXXX   beside the run folder, for the time: what goes from one rank to another
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from lmteach.curriculum.ahead import Judged, annotate_ahead, check_keeps
from lmteach.curriculum.context import open_context
from lmteach.curriculum.joining import SCRATCH, find_place, joined_ranks, n_ranks, started_ranks
from lmteach.curriculum.known import run_path
from lmteach.curriculum.ranks import SOLO, Ranks
from lmteach.engines.options import EngineOptions, open_engine
from lmteach.engines.scratch import scratch_folder
from lmteach.recipe.load import to_yaml
from lmteach.recipe.schema import Recipe
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import write_whole


@dataclass(frozen=True)
class Ahead:
    """What was judged ahead, the store it is kept in, and the teachers' names there."""

    judged: list[Judged]
    place: str
    identities: list[str]


def annotate(
    recipe: Recipe, console: Console, student: Path | None = None, engine: EngineOptions | None = None
) -> Ahead | None:
    """Judge what a recipe's first cycle asks for, into the store; see `annotate_ahead`.

    Several processes share the documents as in `fit`.

    Args:
        engine: where the teacher judges; None or the local one = in the recipe's own processes.

    Returns:
        None on a rank that is not the first: that one speaks for all.

    Raises:
        RecipeError, RunError, TeacherError, StoreError: see there; what was judged is in the store.
    """
    if engine is not None and engine.name != "local":  # it has workers; a warm-up trains in this process
        trainer = replace(recipe.trainer, devices=1, num_nodes=1)
        return annotate_part(replace(recipe, trainer=trainer), console, student, SOLO, engine)
    place = find_place(recipe.trainer)
    if place is not None:
        with joined_ranks(place, recipe.trainer) as ranks, _shared_folder(recipe, ranks) as folder:
            ranks.scratch = folder / SCRATCH
            return annotate_part(recipe, console, student, ranks)
    if n_ranks(recipe.trainer) == 1:
        return annotate_part(recipe, console, student, SOLO)
    task = ["annotate", *([] if student is None else [str(student)])]
    with _folder(recipe) as folder:
        write_whole(folder / "recipe.yaml", lambda path: path.write_text(to_yaml(recipe), encoding="utf-8"))
        with started_ranks(recipe, folder, task) as ranks:
            return annotate_part(recipe, console, student, ranks)


def annotate_part(
    recipe: Recipe,
    console: Console,
    student: Path | None,
    ranks: Ranks,
    options: EngineOptions | None = None,
) -> Ahead | None:
    """Do this rank's part of the work ahead."""
    context = ranks.first_then_rest(lambda: open_context(recipe, console))
    context.ranks = ranks
    teachers = check_keeps(recipe, context.teacher_resources()) if ranks.is_first else []
    ranks.barrier()
    with (
        Store.open(recipe.run.store, run=recipe.name) as store,
        nullcontext() if options is None else open_engine(options, console) as engine,
    ):
        context.store = store
        identities = [teacher.identity for teacher in teachers if teacher.scope != "none"]
        judged = annotate_ahead(context, student, engine)
        return Ahead(judged, store.place, identities) if ranks.is_first else None


def _folder(recipe: Recipe) -> AbstractContextManager[Path]:
    """Make a folder beside the run's, where all ranks see it, for as long as the work takes."""
    return scratch_folder(run_path(recipe).absolute().parent, ".annotate-")


@contextmanager
def _shared_folder(recipe: Recipe, ranks: Ranks) -> Iterator[Path]:
    """Make the folder on the first of ranks that were launched apart; it stays until all are done."""
    with _folder(recipe) if ranks.is_first else nullcontext(Path()) as folder:
        yield Path(ranks.share(str(folder)))
        ranks.barrier()
