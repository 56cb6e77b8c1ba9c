"""A teacher that looks into the store first and asks the teacher inside only for what nobody has judged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from lmteach.errors import TeacherError
from lmteach.teaching.cost import Counters, Meter, total_usage
from lmteach.teaching.protocol import PartialVerdictsError, Teacher
from lmteach.teaching.records import NO_USAGE, Record, list_keys, pair_keys, split_usage
from lmteach.types import Judgement, Scope, Usage, Verdict

if TYPE_CHECKING:
    from lmteach.teaching.store import Store


@dataclass(frozen=True)
class _Ask:
    """What is put to the teacher: a judgement (reduced to missing candidates) and the keys of its answers."""

    judgement: Judgement
    keys: tuple[bytes, ...]


class StoredTeacher:
    """A teacher whose answers are kept; itself a `Teacher`, so that anything that judges may be wrapped.

    A verdict's `usage` is what was spent now: nothing where the store answered. Point-wise answers (scope
    `pair`) are looked up and made candidate by candidate, list-wise ones by whole judgements; a teacher of
    scope `none` is passed through, checked and counted. One that is made of others (it has `members`, and
    `n_missing` like this class) is not counted, since its members are.

    Args:
        teacher: the teacher inside.
        store: where answers are kept; None = only check and count.
        counters: what is counted into; share one object among the teachers of a run.
        meter: measures what the teacher uses where it does not say so itself; by default only time.
    """

    @dataclass
    class Config:
        """A stored teacher has no keys of its own."""

    def __init__(
        self,
        teacher: Teacher,
        store: Store | None,
        counters: Counters | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.teacher, self.store, self.meter = teacher, store, meter or Meter()
        self.counters = Counters() if counters is None else counters

    @cached_property
    def identity(self) -> str:
        """The identity of the teacher inside."""
        return self.teacher.identity

    @property
    def scope(self) -> Scope:
        """The scope of the teacher inside."""
        return self.teacher.scope

    @property
    def _has_members(self) -> bool:
        return bool(getattr(self.teacher, "members", ()))

    def close(self) -> None:
        """Close the teacher inside; the store stays open."""
        self.teacher.close()

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """Answer every judgement, in order; new answers are in the store before this returns.

        Raises:
            TeacherError: the teacher gave the wrong number of verdicts or scores, or a NaN or infinite score;
                its other answers of the batch are kept.
            StoreError: the store cannot be read or written.
        """
        if self.store is None or self.scope == "none":
            return self._pass_through(batch)
        keys = [self._keys(judgement) for judgement in batch]
        known = self.store.get_many(key for row in keys for key in row)
        asks = [ask for ask in self._missing(batch, keys, known) if ask is not None]
        made = self._make(asks, self.store)
        verdicts, unpaid = [], dict(made)
        for row in keys:
            records = [made.get(key) or known[key] for key in row]
            costs = [unpaid.pop(key).usage for key in row if key in unpaid]
            verdicts.append(_assemble(records, sum(costs, NO_USAGE), self.scope))
        self.counters.from_store += sum(map(len, keys)) - len(made)
        self._count_unread(verdicts)
        return verdicts

    def peek(self, batch: Sequence[Judgement]) -> list[Verdict | None]:
        """Return the verdicts that the store answers whole, None for the others; asks and counts nothing."""
        if look := getattr(self.teacher, "peek", None):
            return list(look(batch))
        if self.store is None or self.scope == "none":
            return [None] * len(batch)
        keys = [self._keys(judgement) for judgement in batch]
        known = self.store.get_many(key for row in keys for key in row)
        return [
            _assemble([known[key] for key in row], NO_USAGE, self.scope)
            if all(key in known for key in row)
            else None
            for row in keys
        ]

    def n_missing(self, batch: Sequence[Judgement]) -> list[int]:
        """Return how many pairs of each judgement `judge` would have to make; makes none of them."""
        if count := getattr(self.teacher, "n_missing", None):
            return list(count(batch))
        if self.store is None or self.scope == "none":
            return [len(judgement.candidates) for judgement in batch]
        keys = [self._keys(judgement) for judgement in batch]
        known = self.store.get_many(key for row in keys for key in row)
        return [len(ask.keys) if ask else 0 for ask in self._missing(batch, keys, known)]

    def _keys(self, judgement: Judgement) -> list[bytes]:
        make = pair_keys if self.scope == "pair" else list_keys
        return make(self.identity, judgement.document, judgement.questions)

    def _missing(
        self, batch: Sequence[Judgement], keys: Sequence[list[bytes]], known: Mapping[bytes, Record]
    ) -> list[_Ask | None]:
        """Return what each judgement must ask for: a missing pair (or whole list) once; None = nothing."""
        asks: list[_Ask | None] = []
        claimed = set(known)
        for judgement, row in zip(batch, keys, strict=True):
            places = []
            for i, key in enumerate(row):
                if key not in claimed:
                    claimed.add(key)
                    places.append(i)
            if places and self.scope == "list":
                places = list(range(len(row)))
            asks.append(_Ask(narrow(judgement, places), tuple(row[i] for i in places)) if places else None)
        return asks

    def _make(self, asks: Sequence[_Ask], store: Store) -> dict[bytes, Record]:
        """Ask the teacher, keep what is sound, and only then complain about what is not."""
        if not asks:
            return {}
        verdicts, broke = self._ask([ask.judgement for ask in asks])
        records: list[Record] = []
        for ask, verdict in zip(asks, verdicts, strict=True):
            if verdict is not None:
                problem = _problem(ask.judgement, verdict, self.identity)
                broke = broke or problem
                if len(verdict.scores) == len(ask.keys) and not (problem and self.scope == "list"):
                    records += self._records(ask, verdict)
        store.put_many(records)
        self.counters.made += len(records)
        self.counters.usage += sum((record.usage for record in records), NO_USAGE)
        if broke is not None:
            raise broke
        return {record.key: record for record in records}

    def _ask(self, judgements: list[Judgement]) -> tuple[Sequence[Verdict | None], TeacherError | None]:
        """Return what the teacher answers, one place a judgement, and the error that broke it off, if any."""
        broke: TeacherError | None = None
        verdicts: Sequence[Verdict | None]
        self.meter.start()
        try:
            verdicts = self.teacher.judge(judgements)
        except PartialVerdictsError as error:
            broke, verdicts = error, error.verdicts
        if len(verdicts) != len(judgements):
            raise TeacherError(
                f"The teacher gave {len(verdicts)} verdicts for {len(judgements)} judgements.",
                where=shorten(self.identity),
            )
        if broke is None and any(verdict is None for verdict in verdicts):
            broke = TeacherError(
                "The teacher left judgements without a verdict.", where=shorten(self.identity)
            )
        return (verdicts if self._has_members else self.meter.share(verdicts)), broke

    def _records(self, ask: _Ask, verdict: Verdict) -> list[Record]:
        """Return the records of a verdict's sound scores."""
        n = len(ask.keys)
        raw: list[str | None] = [*verdict.raw] if len(verdict.raw) == n else [None] * n
        if len(verdict.raw) == 1:  # one answer for all candidates
            raw = [*verdict.raw] * n if self.scope == "pair" else [*verdict.raw, *raw[1:]]
        details = json.dumps(dict(verdict.details)) if verdict.details and self.scope == "list" else None
        shares = split_usage(verdict.usage, n)
        return [
            Record(key, self.identity, score, raw[i], shares[i], details if i == 0 else None)
            for i, (key, score) in enumerate(zip(ask.keys, verdict.scores, strict=True))
            if score is None or math.isfinite(score)
        ]

    def _pass_through(self, batch: Sequence[Judgement]) -> list[Verdict]:
        verdicts, broke = self._ask(list(batch))
        for judgement, verdict in zip(batch, verdicts, strict=True):
            if verdict is not None:
                broke = broke or _problem(judgement, verdict, self.identity)
        if broke is not None:
            raise broke
        answered = [verdict for verdict in verdicts if verdict is not None]
        if not self._has_members:
            self.counters.made += sum(len(judgement.candidates) for judgement in batch)
            self.counters.usage += total_usage(answered)
            self._count_unread(answered)
        return answered

    def _count_unread(self, verdicts: Sequence[Verdict]) -> None:
        self.counters.unread += sum(score is None for verdict in verdicts for score in verdict.scores)


def narrow(judgement: Judgement, places: Sequence[int]) -> Judgement:
    """Return the judgement with only the candidates at `places`; what runs parallel to them is cut alike."""
    if len(places) == len(judgement.candidates):
        return judgement
    return replace(
        judgement,
        candidates=tuple(judgement.candidates[i] for i in places),
        label_ids=tuple(judgement.label_ids[i] for i in places) if judgement.label_ids else (),
        student_scores=tuple(judgement.student_scores[i] for i in places) if judgement.student_scores else (),
        descriptions=tuple(judgement.descriptions[i] for i in places) if judgement.descriptions else (),
    )


def shorten(text: str, n: int = 60) -> str:
    """Return text on one line of at most n characters, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= n else line[: n - 3] + "..."


def _assemble(records: Sequence[Record], usage: Usage, scope: Scope) -> Verdict:
    raw = tuple(record.raw for record in records)
    if scope == "list" and len(raw) > 1 and raw[0] is not None and all(text is None for text in raw[1:]):
        raw = raw[:1]
    details = json.loads(records[0].details) if records and records[0].details else {}
    return Verdict(
        tuple(record.score for record in records),
        tuple(text or "" for text in raw) if any(text is not None for text in raw) else (),
        usage,
        details,
    )


def _problem(judgement: Judgement, verdict: Verdict, identity: str) -> TeacherError | None:
    """Return what is wrong with a verdict's scores, if anything."""
    where = (
        f"teacher {shorten(identity)}, document {judgement.document_id or repr(shorten(judgement.document))}"
    )
    if len(verdict.scores) != len(judgement.candidates):
        return TeacherError(
            f"The teacher gave {len(verdict.scores)} scores for {len(judgement.candidates)} candidates.",
            where=where,
        )
    for candidate, score in zip(judgement.candidates, verdict.scores, strict=True):
        if score is not None and not math.isfinite(score):
            return TeacherError(
                f"The teacher scored the candidate '{shorten(candidate)}' {score}, which is no number.",
                where=where,
                mend="What it answered before is kept. An answer that cannot be read must be None.",
            )
    return None
