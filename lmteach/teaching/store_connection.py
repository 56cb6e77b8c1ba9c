"""How the store reaches its database: tables, connections, retries, and errors put into words."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from lmteach.errors import StoreError, missing_package

SCHEMA_VERSION = 1
BUSY_SECONDS = 20.0  # how long a SQLite writer waits for another one before it counts as an attempt
N_ATTEMPTS = 8
READ, UNREAD = 0, 1  # values of `flag`

tables = sa.MetaData()
meta = sa.Table(
    "lmteach_meta",
    tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
teachers = sa.Table(
    "lmteach_teachers",
    tables,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("identity", sa.Text, nullable=False),
)
verdicts = sa.Table(
    "lmteach_verdicts",
    tables,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("teacher_id", sa.BigInteger, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("flag", sa.SmallInteger, nullable=False),
    sa.Column("raw", sa.Text),
    sa.Column("details", sa.Text),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("answer_tokens", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("usd", sa.Double, nullable=False),
    sa.Column("joules", sa.Double),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sqlite_with_rowid=False,  # one tree instead of a table and an index over random keys
)

T = TypeVar("T")


def parse_url(url: str | Path) -> URL:
    """Return the database URL of a path or of an SQLAlchemy URL.

    Raises:
        StoreError: neither SQLite nor PostgreSQL, or no file is named.
    """
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise StoreError(
            "The store's URL cannot be read.",
            mend="Give a path, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME.",
        ) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(
            f"The store cannot be kept in {parsed.get_backend_name()}.",
            mend="It may be a SQLite file (a path) or PostgreSQL (postgresql+psycopg://USER@HOST/NAME).",
        )
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError("The store's URL names no file, so nothing would be kept.", where=str(url))
    return parsed


def connect(url: URL, *, create: bool) -> sa.Engine:
    """Open the database and make sure that it is a store of this version, making one where there is none.

    Raises:
        StoreError: missing (with `create=False`), not a store, of a newer version, or out of reach.
    """
    if url.get_backend_name() == "sqlite":
        _check_file(Path(str(url.database)), create)
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", _on_sqlite_connect)
        sa.event.listen(engine, "begin", _on_sqlite_begin)
    else:
        try:
            engine = sa.create_engine(url, pool_pre_ping=True)
        except ImportError as error:
            raise missing_package(
                "psycopg", needed_by="A store in PostgreSQL", command="pip install 'lmteach[postgres]'"
            ) from error
    try:
        attempt(engine, lambda: _prepare(engine, create=create), doing="opened", patient=False)
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """Return the engine for a transaction that writes: SQLite then takes its write lock at the start."""
    return engine.execution_options(lmteach_writes=True)


def place(engine: sa.Engine) -> str:
    """Return where the store is, for messages: the file, or the URL without its password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


def attempt(engine: sa.Engine, work: Callable[[], T], *, doing: str, patient: bool = True) -> T:
    """Do `work`, again where the failure may pass (a lock, a deadlock, a lost connection).

    `work` must be safe to repeat. A patient attempt at PostgreSQL outlives a restart of the server.

    Raises:
        StoreError: it did not pass, or never would.
    """
    for i in range(N_ATTEMPTS):
        try:
            return work()
        except exc.DBAPIError as error:
            if i == N_ATTEMPTS - 1 or not _may_pass(error, patient):
                raise _in_words(engine, error, doing) from error
            time.sleep(random.uniform(0.5, 1.0) * 0.25 * 2**i)
        except exc.SQLAlchemyError as error:
            raise StoreError(f"The store cannot be {doing}: {error}", where=place(engine)) from error
    raise AssertionError("unreachable")


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError("This is a folder, not a store.", where=str(path))
    if path.exists():
        return
    if not create:
        raise StoreError("There is no store here.", where=str(path), mend="Name it by --store.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The store's folder cannot be made: {error.strerror}.", where=str(path)) from error


def _on_sqlite_connect(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _on_sqlite_begin
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut: it was paid for


def _on_sqlite_begin(connection: sa.Connection) -> None:
    # Reading first and writing later in one transaction fails at once when another process wrote in between,
    # whatever the time-out: so a writer takes the lock at the start.
    writes = connection.get_execution_options().get("lmteach_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare(engine: sa.Engine, *, create: bool) -> None:
    with engine.begin() as connection:
        found = set(sa.inspect(connection).get_table_names())
        version = _version(connection) if meta.name in found else None
    if version is None:
        _make(engine, found, create=create)
    elif version > SCHEMA_VERSION:
        raise StoreError(
            f"The store has version {version}; this lmteach reads up to {SCHEMA_VERSION}.",
            where=place(engine),
            mend="Update lmteach, or name another store.",
        )


def _make(engine: sa.Engine, found: set[str], *, create: bool) -> None:
    if engine.dialect.name == "sqlite":
        if found - {t.name for t in tables.sorted_tables}:
            raise StoreError(
                "This is a database of something else, not a store of lmteach.", where=place(engine)
            )
        # Outside a transaction; lets readers go on while one process writes. Stays with the file.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            try:
                raw.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                raise exc.OperationalError("PRAGMA journal_mode", None, error) from error
    elif not create:
        raise StoreError("There is no store in this database.", where=place(engine))
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            # Two processes that create the same table at once would collide in the catalogue.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305521)")
        tables.create_all(connection)
        if _version(connection) is None:
            connection.execute(meta.insert().values(name="schema_version", value=str(SCHEMA_VERSION)))


def _version(connection: sa.Connection) -> int | None:
    value = connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema_version")).scalar()
    return None if value is None else int(value)


def _may_pass(error: exc.DBAPIError, patient: bool) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return any(word in str(error.orig) for word in ("locked", "busy"))
    state = getattr(error.orig, "sqlstate", None)
    if state in ("40001", "40P01"):  # serialization failure, deadlock
        return True
    lost = state is None or state.startswith(("08", "57P"))  # no answer at all, connection failure, shutdown
    return patient and isinstance(error, exc.OperationalError) and lost


def _in_words(engine: sa.Engine, error: exc.DBAPIError, doing: str) -> StoreError:
    said = str(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    kept = "What was written before is kept."
    if "disk is full" in said or "disk I/O error" in said or state == "53100":
        return StoreError(
            f"The store cannot be {doing}: no room is left on its disk ({said}). {kept}",
            where=place(engine),
            mend="Make room, or move the store, then go on with --resume.",
        )
    if "not a database" in said:
        return StoreError("This file is not a database, so it is no store.", where=place(engine))
    if "malformed" in said:
        return StoreError(
            "The store's file is damaged.",
            where=place(engine),
            mend="`sqlite3 FILE .recover` saves what can be read.",
        )
    if "readonly" in said or "unable to open" in said or state == "42501":
        return StoreError(
            f"The store cannot be {doing}: its file or folder does not allow it ({said}).",
            where=place(engine),
            mend="Name a place that you may write to.",
        )
    if "locked" in said:
        return StoreError(f"The store cannot be {doing}: another process holds it.", where=place(engine))
    first_line = said.strip().splitlines()[0] if said.strip() else type(error.orig).__name__
    return StoreError(f"The store cannot be {doing}: {first_line}. {kept}", where=place(engine))
