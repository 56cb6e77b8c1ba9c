"""A short timed probe of a recipe's teacher: a few of the judgements that the run would make, kept in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import ask, judgements_of
from lmteach.curriculum.known import NO_WARM_STUDENT, first_encoder
from lmteach.curriculum.planning import Groundwork
from lmteach.curriculum.shortlisting import build_index, find_candidates
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console
from lmteach.types import Judgement

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus

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
        judgements = judgements_of(context, context.corpus.train, shortlist, context.recipe.search.n_judged)
        return time_teachers(context, [work.recipe.teacher], judgements, n)


def time_teachers(
    context: RunContext, sections: Sequence[Mapping[str, Any]], judgements: Sequence[Judgement], n: int
) -> Probe | None:
    """Have each teacher make n judgements that the store lacks, one more before them to load it, and time it.

    None where there are not so many as two.
    """
    n_pairs, seconds = 0, 0.0
    for section in sections:
        with context.teacher(section) as teacher:
            some = judgements[:ROWS_LOOKED_AT]
            missing: Sequence[int] = teacher.n_missing(some)  # type: ignore[attr-defined]
            todo = [judgement for judgement, count in zip(some, missing, strict=True) if count][: n + 1]
            if len(todo) < 2:
                return None
            ask(context, teacher, todo[:1])
            before, started = context.counters.made, time.perf_counter()
            ask(context, teacher, todo[1:])
            n_pairs += context.counters.made - before
            seconds += time.perf_counter() - started
    return Probe(n_pairs, seconds)


def _some_candidates(context: RunContext, n: int) -> Shortlist | None:
    rng = np.random.default_rng([context.recipe.seed, *b"probe"])
    drawn = rng.permutation(context.first_positions())[:n]
    encoder = first_encoder(context)
    if encoder is None:
        return None
    return find_candidates(context, encoder, build_index(context, encoder), context.corpus.train, drawn)
