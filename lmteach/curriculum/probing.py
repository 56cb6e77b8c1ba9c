"""A short timed probe of a recipe's teacher: a few of the judgements that the run would make, kept in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.known import NO_WARM_STUDENT, first_encoder
from lmteach.curriculum.labelling import build_index, find_candidates, judge, judgements_of
from lmteach.curriculum.planning import Groundwork
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.protocol import Teacher
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus, Documents

ROWS_LOOKED_AT = 4096


@dataclass(frozen=True)
class Probe:
    """A few judgements that were made and timed; they are in the store now."""

    n_pairs: int
    seconds: float


@contextmanager
def probe_context(work: Groundwork, corpus: Corpus, console: Console) -> Iterator[RunContext]:
    """Open the recipe's store under a name that says what for, and the recipe at work on it."""
    with Store.open(work.recipe.run.store, run=f"{work.recipe.name} (probe)") as store:
        yield RunContext(work.recipe, corpus, console, store)


def probe(work: Groundwork, console: Console, n: int) -> Probe | None:
    """Judge the first cycle's candidates of n documents, one more before them to load the teacher.

    None where the store answers all that was looked at, or there are no texts.

    Raises:
        TeacherError: the teacher cannot answer.
    """
    if work.corpus is None:
        return None
    with probe_context(work, work.corpus, console) as context:
        shortlist = work.shortlist or _some_candidates(context, 4 * (n + 1))
        if shortlist is None:
            work.notes.append(NO_WARM_STUDENT)
            return None
        documents, k = context.corpus.train, context.recipe.search.n_judged
        with context.teacher() as teacher:
            unknown = _rows_to_make(context, teacher, documents, shortlist, k)[: n + 1]
            if len(unknown) < 2:
                return None
            judge(context, teacher, documents, _rows(shortlist, unknown[:1]), k)
            before, started = context.counters.made, time.perf_counter()
            judge(context, teacher, documents, _rows(shortlist, unknown[1:]), k)
            return Probe(context.counters.made - before, time.perf_counter() - started)


def _some_candidates(context: RunContext, n: int) -> Shortlist | None:
    rng = np.random.default_rng([context.recipe.seed, *b"probe"])
    drawn = rng.permutation(context.first_positions())[:n]
    encoder = first_encoder(context)
    if encoder is None:
        return None
    return find_candidates(context, encoder, build_index(context, encoder), context.corpus.train, drawn)


def _rows_to_make(
    context: RunContext, teacher: Teacher, documents: Documents, shortlist: Shortlist, k: int
) -> list[int]:
    judgements = judgements_of(context, documents, shortlist, k)
    some = judgements[:ROWS_LOOKED_AT]
    n_missing: Sequence[int] = teacher.n_missing(some)  # type: ignore[attr-defined]
    return [row for row, missing in enumerate(n_missing) if missing]


def _rows(shortlist: Shortlist, rows: Sequence[int]) -> Shortlist:
    places = np.asarray(rows)
    return Shortlist(
        shortlist.positions_q[places], shortlist.label_ids_qk[places], shortlist.scores_qk[places]
    )
