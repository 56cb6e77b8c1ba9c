"""The store of verdicts: what a teacher was paid for once is never paid for again.

SQLite (a file, write-ahead log) by default, PostgreSQL where several machines share one store. Keys are
content hashes (`records.py`), so the same text in another run or corpus is found too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lmteach.errors import StoreError
from lmteach.teaching.records import Record
from lmteach.teaching.store_connection import (
    UNREAD,
    attempt,
    connect,
    parse_url,
    place,
    teachers,
    verdicts,
    writing,
)
from lmteach.teaching.store_rows import KEEPS, read_record, read_usage, teacher_id, write_row
from lmteach.types import Usage

KEYS_A_QUERY = 900  # SQLite builds may allow no more than 999 variables
ROWS_A_READ = 2000


@dataclass(frozen=True)
class TeacherStats:
    """What the store holds of one teacher. `yes` counts scores above 0; times are seconds since the epoch."""

    identity: str
    verdicts: int
    yes: int
    unread: int
    usage: Usage
    first: float
    last: float


class Store:
    """Verdicts by content key. Safe for many processes at once; build it by `Store.open`."""

    def __init__(self, engine: sa.Engine, run: str = "") -> None:
        self._engine, self.run, self._pid = engine, run, os.getpid()

    @classmethod
    def open(cls, url: str | Path, run: str = "", *, create: bool = True) -> Self:
        """Open a store, making it first where there is none.

        Args:
            url: a path, `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/NAME`.
            run: the run that new records are written down for.
            create: False = a store that is not there is an error.

        Raises:
            StoreError: not a store, of a newer version, not allowed, or out of reach.
        """
        return cls(connect(parse_url(url), create=create), run)

    @property
    def place(self) -> str:
        """Where the store is: its file, or its URL without the password."""
        return place(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. A later call opens one anew."""
        self._reach().dispose()

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Record]:
        """Return the records there are, by key.

        Raises:
            StoreError: the store cannot be read.
        """
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}

        def read() -> list[Record]:
            found: list[Record] = []
            with self._reach().begin() as connection:
                for start in range(0, len(wanted), KEYS_A_QUERY):
                    query = KEEPS.where(verdicts.c.key.in_(wanted[start : start + KEYS_A_QUERY]))
                    found += map(read_record, connection.execute(query))
            return found

        return {record.key: record for record in attempt(self._reach(), read, doing="read")}

    def put_many(self, records: Sequence[Record]) -> int:
        """Write records in one transaction; a key that is there already stays as it is.

        Returns:
            how many were new.

        Raises:
            StoreError: nothing of this call was written; what was there before is kept.
        """
        now = time.time()
        rows = [write_row(record, now, self.run) for record in records]
        rows.sort(key=lambda row: row["key"])  # writers that take keys in one order cannot deadlock
        owners = {teacher_id(name): name for name in {r.teacher for r in records}}

        def write() -> int:
            with writing(self._reach()).begin() as connection:
                connection.execute(
                    self._insert(teachers), [{"id": i, "identity": owners[i]} for i in sorted(owners)]
                )
                if self._engine.dialect.name == "sqlite":
                    return connection.execute(self._insert(verdicts), rows).rowcount
                # psycopg does not count the rows of a batch, so the new keys are asked for
                new = self._insert(verdicts).returning(verdicts.c.key)
                return len(connection.execute(new, rows).all())

        return attempt(self._reach(), write, doing="written") if rows else 0

    def stats(self) -> list[TeacherStats]:
        """Return what the store holds, a line a teacher, the largest first.

        Raises:
            StoreError: the store cannot be read.
        """
        v = verdicts.c
        query = (
            sa.select(
                teachers.c.identity,
                sa.func.count(),
                sa.func.sum(sa.case((v.score > 0, 1), else_=0)),
                sa.func.sum(v.flag),
                *(sa.func.sum(c) for c in (v.prompt_tokens, v.answer_tokens, v.seconds, v.usd, v.joules)),
                sa.func.min(v.created_us),
                sa.func.max(v.created_us),
            )
            .join_from(verdicts, teachers, v.teacher_id == teachers.c.id)
            .group_by(teachers.c.identity)
        )

        def read() -> list[TeacherStats]:
            with self._reach().begin() as connection:
                return [
                    TeacherStats(name, n, int(yes), int(unread), read_usage(cost), first / 1e6, last / 1e6)
                    for name, n, yes, unread, *cost, first, last in connection.execute(query)
                ]

        return sorted(attempt(self._reach(), read, doing="read"), key=lambda s: (-s.verdicts, s.identity))

    def records(self, teacher: str | None = None) -> Iterator[Record]:
        """Yield every record (of one teacher), ordered by key, in pages: other processes may write meanwhile.

        Raises:
            StoreError: the store cannot be read.
        """
        after = b""
        while page := attempt(self._reach(), lambda after=after: self._page(after, teacher), doing="read"):  # type: ignore[misc]
            yield from page
            after = page[-1].key

    def prune(
        self,
        *,
        teacher: str | None = None,
        before: float | None = None,
        run: str | None = None,
        unread: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Delete the records that fit every condition given.

        Args:
            teacher: exactly this identity.
            before: written before this time (seconds since the epoch).
            run: paid for by this run.
            unread: only answers that could not be read, so that they are asked again.
            dry_run: count, delete nothing.

        Returns:
            how many records fit.

        Raises:
            StoreError: no condition was given, or the store cannot be written.
        """
        v, conditions = verdicts.c, []
        if teacher is not None:
            conditions.append(v.teacher_id == teacher_id(teacher))
        if before is not None:
            conditions.append(v.created_us < int(before * 1e6))
        if run is not None:
            conditions.append(v.run == run)
        if unread:
            conditions.append(v.flag == UNREAD)
        if not conditions:
            raise StoreError("Nothing says what to prune.", mend="Name a teacher, a run or a date.")

        def write() -> int:
            with writing(self._reach()).begin() as connection:
                if dry_run:
                    counted = sa.select(sa.func.count()).select_from(verdicts).where(*conditions)
                    return int(connection.execute(counted).scalar_one())
                return connection.execute(verdicts.delete().where(*conditions)).rowcount

        return attempt(self._reach(), write, doing="pruned")

    def _page(self, after: bytes, teacher: str | None) -> list[Record]:
        query = KEEPS.where(verdicts.c.key > after).order_by(verdicts.c.key).limit(ROWS_A_READ)
        if teacher is not None:
            query = query.where(verdicts.c.teacher_id == teacher_id(teacher))
        with self._reach().begin() as connection:
            return [read_record(row) for row in connection.execute(query)]

    def _insert(self, table: sa.Table) -> Any:
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table).on_conflict_do_nothing()

    def _reach(self) -> sa.Engine:
        if self._pid != os.getpid():  # a fork must not use its parent's connections, nor close them
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return self._engine
