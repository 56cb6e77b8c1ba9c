"""Runs a teacher over many judgements: in good order, in chunks that a kill can cost, within a budget."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lmteach.teaching.cost import Budget, Counters
from lmteach.teaching.protocol import Teacher
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.types import Judgement, Verdict

Progress = Callable[[int, int, Mapping[str, float]], None]

FIRST_CHUNK, LARGEST_CHUNK = 16, 4096
CHUNK_SECONDS = 10.0  # what a kill may cost at most, about
CHUNKS_A_WINDOW = 16


@dataclass(frozen=True)
class AnnotatedBatch:
    """What a teacher said about n documents with up to k candidates each.

    Attributes:
        scores_nk: the scores, float32; NaN where nothing was read or nothing was asked.
        judged_nk: where an answer came, read or not; False beyond a document's candidates and past a budget.
        counters: pairs made now and taken from the store, and what they cost.
        details: the mean of each number that verdicts carry as details.
        stopped_by: the cap at which labelling stopped, as `budget.KEY = CAP`; None = all was judged.
        seconds: wall clock.
    """

    scores_nk: npt.NDArray[np.float32]
    judged_nk: npt.NDArray[np.bool_]
    counters: Counters
    details: Mapping[str, float]
    stopped_by: str | None
    seconds: float

    @property
    def n_judged(self) -> int:
        """How many pairs have an answer."""
        return int(self.judged_nk.sum())

    @property
    def n_unread(self) -> int:
        """How many answers could not be read."""
        return int((self.judged_nk & np.isnan(self.scores_nk)).sum())


def annotate(
    teacher: Teacher,
    judgements: Sequence[Judgement],
    *,
    chunk: int | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
    yes_above: float | None = None,
) -> AnnotatedBatch:
    """Have a teacher answer every judgement that the budget allows.

    Documents are taken in windows of the input's order and by length within each, so that the teacher's
    batches hold texts of like length. Past a cap, judgements that the store answers whole are still served,
    so a run that is resumed gets what it got before. All caps but `judgements` may be passed by one chunk.

    Args:
        teacher: any teacher; a `StoredTeacher` keeps what is said.
        judgements: indexed one by one, so they may be built on demand.
        chunk: documents handed to the teacher at once, and so lost at most by a kill; None = as many as take
            about ten seconds.
        budget: the caps; charged with what is newly made, also when an error ends the work.
        progress: called after each chunk with (documents done, documents, counts so far).
        yes_above: the score above which an answer is a yes, for the counts `yes` and `read`; None = not known yet.

    Raises:
        TeacherError: the teacher cannot answer; what it answered before is in the store.
        StoreError: the store cannot be read or written.
    """
    stored = teacher if isinstance(teacher, StoredTeacher) else StoredTeacher(teacher, None)
    work = _Work(stored, judgements, budget or Budget(), chunk or FIRST_CHUNK, fixed=chunk is not None)
    work.yes_above = yes_above
    for served in work.chunks():
        if progress is not None:
            progress(served, len(judgements), work.counts())
    return work.result()


@dataclass
class _Work:
    """The state of one `annotate`."""

    teacher: StoredTeacher
    judgements: Sequence[Judgement]
    budget: Budget
    size: int
    fixed: bool
    stopped_by: str | None = None
    n_done: int = 0
    yes_above: float | None = None
    n_yes: int = 0
    n_read: int = 0
    details: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.before = self.teacher.counters.copy()
        self.scores_nk = np.full((len(self.judgements), 0), np.nan, dtype=np.float32)
        self.judged_nk = np.zeros((len(self.judgements), 0), dtype=np.bool_)

    def chunks(self) -> Iterator[int]:
        """Judge chunk by chunk; yield how many documents are done."""
        start = 0
        while start < len(self.judgements):
            stop = min(len(self.judgements), start + CHUNKS_A_WINDOW * self.size)
            window = {i: self.judgements[i] for i in range(start, stop)}
            queue = by_length(window, self.size, seed=start)
            n_missing = [0] * len(queue)
            if self.budget.capped:
                n_missing = self.teacher.n_missing([window[i] for i in queue])
            todo = list(zip(queue, n_missing, strict=True))
            while todo:
                taken, todo = self._take(todo)
                if taken:
                    self._judge(taken, [window[i] for i in taken])
                    yield self.n_done
            start = stop

    def _take(self, todo: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the next chunk, as positions, and what is left; past a cap only what costs nothing."""
        taken: list[int] = []
        room, cap = self.budget.room()
        for place, (i, n_missing) in enumerate(todo):
            if len(taken) == self.size:
                return taken, todo[place:]
            if n_missing and (self.stopped_by or n_missing > room):
                self.stopped_by = self.stopped_by or cap
            else:
                taken.append(i)
                room -= n_missing
        return taken, []

    def _judge(self, places: list[int], chunk: list[Judgement]) -> None:
        before, started = self.teacher.counters.copy(), time.perf_counter()
        try:
            verdicts = self.teacher.judge(chunk)
        finally:
            seconds, spent = time.perf_counter() - started, self.teacher.counters - before
            self.budget.charge(spent.made, spent.usage, seconds if spent.made else 0.0)
        for i, verdict in zip(places, verdicts, strict=True):
            self._write(i, verdict)
        self.n_done += len(places)
        if not self.fixed and seconds < CHUNK_SECONDS / 2:
            self.size = min(LARGEST_CHUNK, 2 * self.size)
        elif not self.fixed and seconds > 2 * CHUNK_SECONDS:
            self.size = max(1, self.size // 2)

    def _write(self, i: int, verdict: Verdict) -> None:
        n = len(verdict.scores)
        if (wider := n - self.scores_nk.shape[1]) > 0:
            self.scores_nk = np.pad(self.scores_nk, ((0, 0), (0, wider)), constant_values=np.nan)
            self.judged_nk = np.pad(self.judged_nk, ((0, 0), (0, wider)))
        self.scores_nk[i, :n] = [np.nan if score is None else score for score in verdict.scores]
        self.judged_nk[i, :n] = True
        if self.yes_above is not None:
            read = [score for score in verdict.scores if score is not None]
            self.n_read += len(read)
            self.n_yes += sum(score > self.yes_above for score in read)
        for name, value in verdict.details.items():
            self.details.setdefault(name, []).append(value)

    def counts(self) -> dict[str, float]:
        """Return the counts so far, for a progress line."""
        now = self.teacher.counters - self.before
        return {
            "made": now.made,
            "from_store": now.from_store,
            "unread": now.unread,
            "tokens": now.usage.prompt_tokens + now.usage.answer_tokens,
            "usd": now.usage.usd,
            "seconds": time.perf_counter() - self.started,
            "yes": self.n_yes,
            "read": self.n_read,
        }

    def result(self) -> AnnotatedBatch:
        """Return all that was said, in the input's order."""
        return AnnotatedBatch(
            self.scores_nk,
            self.judged_nk,
            self.teacher.counters - self.before,
            {name: float(np.mean(values)) for name, values in self.details.items()},
            self.stopped_by,
            time.perf_counter() - self.started,
        )


def by_length(window: Mapping[int, Judgement], size: int, seed: int) -> list[int]:
    """Order a window's judgements by document length, in bands of `size` that follow in random order.

    Neighbours have like length, yet a budget that ends inside the window is not spent on one length alone.
    """
    order = sorted(window, key=lambda i: (len(window[i].document), i))
    bands = [order[start : start + size] for start in range(0, len(order), size)]
    random.Random(seed).shuffle(bands)
    return [i for band in bands for i in band]
