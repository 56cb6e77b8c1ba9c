"""The teacher's work spread over an engine's workers: judgements in Parquet shards, verdicts in the one store.

Each worker opens the recipe, its own teacher and the store, and keeps what the teacher says there, batch by batch; so
a worker that dies loses the batch that was with the teacher, and nothing is asked again that the store answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.corpus.cache import cache_root
from lmteach.curriculum.asked_parts import Asked, write_parts
from lmteach.curriculum.judging import judging_numbers
from lmteach.curriculum.sharded import Part
from lmteach.curriculum.teacher_work import USAGE, TeacherWork
from lmteach.engines.protocol import Engine, Sums
from lmteach.engines.scratch import scratch_folder
from lmteach.errors import RunError
from lmteach.teaching.cost import Counters
from lmteach.teaching.store_connection import parse_url
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.types import Usage

if TYPE_CHECKING:
    from lmteach.curriculum.context import RunContext

Rows = npt.NDArray[np.int64]

ROWS_A_LOOK = 4096  # judgements looked up in the store at a time


def check_shared(engine: Engine, url: str) -> None:
    """Make sure that an engine's workers can all write to a store.

    Raises:
        RunError: they cannot.
    """
    if engine.n_machines > 1 and parse_url(url).get_backend_name() == "sqlite":
        raise RunError(
            "Several machines cannot share a store in SQLite.",
            where=f"run.store = {url}",
            mend="Keep it in PostgreSQL: run.store=postgresql+psycopg://USER@HOST/NAME.",
        )


def judge_on(engine: Engine, context: RunContext, asked: Sequence[Asked]) -> list[tuple[Counters, str]]:
    """Have an engine's workers judge, within the run's budget, into the store.

    `budget.judgements` is exact: it is divided before the work begins, in the order of the documents. The other caps
    may be passed by one batch a worker.

    Returns:
        of each split, what was counted and the cap that was reached, or "".

    Raises:
        RunError: the workers cannot share the store, have another teacher, or died.
        TeacherError, StoreError: see there; what was judged is in the store.
    """
    check_shared(engine, context.recipe.run.store)
    with context.teacher() as teacher:
        assert isinstance(teacher, StoredTeacher)
        allowed, stopped = _allot(context, teacher, asked)
        work = TeacherWork(context.recipe, context.budget, teacher.identity)
    asked = [Asked(a.split, Part(a.judgements, rows)) for a, rows in zip(asked, allowed, strict=True)]
    with scratch_folder(cache_root() / "asked", "") as folder:
        parts = write_parts(folder, asked, engine.n_workers)
        n = sum(len(a.judgements) for a in asked)
        sums = Sums()
        with context.console.stage("judge", n, unit="docs") as stage:

            def listen(now: Sums) -> None:
                nonlocal sums
                before, sums = sums.standing.get("documents", 0), now
                stage.advance(int(now.standing.get("documents", 0) - before), **_shown(now, asked))

            with engine.run(work, parts, listen) as answers:
                for _, capped in answers:
                    for split, cap in capped.items():
                        stopped[split] = stopped[split] or cap
    return [(_counted(sums, a.split), stopped[a.split]) for a in asked]


def _allot(
    context: RunContext, teacher: StoredTeacher, asked: Sequence[Asked]
) -> tuple[list[Rows], dict[str, str]]:
    """Return the rows of each split that the cap on judgements has room for, and of each the cap if not for all."""
    stopped = {a.split: "" for a in asked}
    cap = context.budget.judgements
    if cap is None:
        return [np.arange(len(a.judgements), dtype=np.int64) for a in asked], stopped
    left, left_out = cap - context.budget.spent.judgements, set[str]()
    allowed = []
    for a in asked:
        fits = np.zeros(len(a.judgements), np.bool_)
        for start in range(0, len(fits), ROWS_A_LOOK):
            window = a.judgements[start : start + ROWS_A_LOOK]
            for row, n_missing in enumerate(teacher.n_missing(window)):
                # A twin of one that is left out costs nothing only beside it.
                if n_missing <= left and window[row].document not in left_out:
                    fits[start + row] = True
                    left -= n_missing
                else:
                    left_out.add(window[row].document)
        allowed.append(np.flatnonzero(fits).astype(np.int64))
        stopped[a.split] = "" if fits.all() else f"budget.judgements = {cap}"
    return allowed, stopped


def _counted(sums: Sums, split: str) -> Counters:
    """Return a split's counts. What a lost attempt made was paid for once, and then came from the store."""
    usage = {name: sums.total(f"{split}/{name}") for name in USAGE}
    tokens = {name: int(usage[name]) for name in ("prompt_tokens", "answer_tokens")}
    return Counters(
        int(sums.total(f"{split}/made")),
        int(sums.standing.get(f"{split}/from_store", 0) - sums.lost.get(f"{split}/made", 0)),
        int(sums.standing.get(f"{split}/unread", 0)),
        Usage(**(usage | tokens | {"joules": usage["joules"] or None})),  # type: ignore[arg-type]
    )


def _shown(sums: Sums, asked: Sequence[Asked]) -> dict[str, str]:
    """Return what is shown beside the progress."""
    counted = [_counted(sums, a.split) for a in asked]
    counts = {
        "made": float(sum(c.made for c in counted)),
        "from_store": float(sum(c.from_store for c in counted)),
        "unread": float(sum(c.unread for c in counted)),
        "usd": sum(c.usage.usd for c in counted),
        "seconds": sums.seconds,
        "yes": sum(sums.standing.get(f"{a.split}/yes", 0.0) for a in asked),
        "read": sum(sums.standing.get(f"{a.split}/read", 0.0) for a in asked),
    }
    return judging_numbers(counts)
