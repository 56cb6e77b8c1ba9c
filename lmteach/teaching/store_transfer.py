"""The store as JSON lines: to carry verdicts to another machine, to keep them, or to `replay` them."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from lmteach.corpus.lines import parse_json, read_lines
from lmteach.errors import CorpusError, StoreError
from lmteach.teaching.records import Record
from lmteach.teaching.store import Store
from lmteach.types import Usage

FORMAT_VERSION = 1
RECORDS_A_WRITE = 2000


def export_store(store: Store, path: Path, teacher: str | None = None) -> int:
    """Write every record (of one teacher) as a JSON line; gzipped where the name ends in `.gz`.

    The first line is `{"lmteach_store": 1}`. The file appears under its name only when it is whole.

    Returns:
        how many records were written.

    Raises:
        StoreError: the store cannot be read, or the file cannot be written.
    """
    n, partial = 0, path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_text(partial, gzipped=path.suffix == ".gz") as file:
            file.write(json.dumps({"lmteach_store": FORMAT_VERSION}) + "\n")
            for record in store.records(teacher):
                file.write(json.dumps(_fields(record), ensure_ascii=False) + "\n")
                n += 1
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"The export cannot be written: {error.strerror}.", where=str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return n


def import_store(store: Store, path: Path) -> tuple[int, int]:
    """Write the records of an export into a store; keys that are there already stay as they are.

    Returns:
        (how many were new, how many the file holds).

    Raises:
        StoreError: a line is no record, or the store cannot be written; what came before is kept.
        CorpusError: the file cannot be read.
    """
    n_new = n = 0
    batch: list[Record] = []
    try:
        for record in read_export(path):
            batch.append(record)
            if len(batch) == RECORDS_A_WRITE:
                n, n_new, batch = n + len(batch), n_new + store.put_many(batch), []
    except (StoreError, CorpusError):
        store.put_many(batch)
        raise
    return n_new + store.put_many(batch), n + len(batch)


def read_export(path: Path) -> Iterator[Record]:
    """Yield the records of an export.

    Raises:
        StoreError: a line that is no record, or an export of a newer version.
        CorpusError: the file cannot be read.
    """
    headed = False
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields, where = parse_json(line, str(path), number), f"{path}:{number}"
        if not headed:
            _check_header(fields, where)
            headed = True
            continue
        try:
            yield _record(fields)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise StoreError(f"This line is no record of a verdict: {problem}.", where=where) from error


def _check_header(fields: dict[str, Any], where: str) -> None:
    version = fields.get("lmteach_store")
    if not isinstance(version, int):
        raise StoreError(
            'This is no export of a store: its first line is not {"lmteach_store": 1}.',
            where=where,
            mend="`lmteach store export FILE` writes one.",
        )
    if version > FORMAT_VERSION:
        raise StoreError(
            f"The export has version {version}; this lmteach reads up to {FORMAT_VERSION}.", where=where
        )


def _open_text(path: Path, *, gzipped: bool) -> IO[str]:
    if gzipped:
        return cast(IO[str], gzip.open(path, "wt", encoding="utf-8", compresslevel=6))
    return path.open("w", encoding="utf-8")


def _fields(record: Record) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(record.created_at, datetime.UTC)
    fields = {
        "key": record.key.hex(),
        "teacher": record.teacher,
        "score": record.score,
        "raw": record.raw,
        "details": record.details,
        "prompt_tokens": record.usage.prompt_tokens,
        "answer_tokens": record.usage.answer_tokens,
        "seconds": record.usage.seconds,
        "usd": record.usage.usd,
        "joules": record.usage.joules,
        "created_at": when.isoformat(timespec="microseconds"),
        "run": record.run,
    }
    return {name: value for name, value in fields.items() if value is not None or name == "score"}


def _record(fields: dict[str, Any]) -> Record:
    key, score, joules = bytes.fromhex(fields["key"]), fields["score"], fields.get("joules")
    if len(key) != 32:
        raise ValueError("its key is not 64 hexadecimal digits long")
    if score is not None and not math.isfinite(float(score)):
        raise ValueError(f"its score is {score}")
    usage = Usage(
        int(fields.get("prompt_tokens", 0)),
        int(fields.get("answer_tokens", 0)),
        float(fields.get("seconds", 0.0)),
        float(fields.get("usd", 0.0)),
        None if joules is None else float(joules),
    )
    return Record(
        key,
        str(fields["teacher"]),
        None if score is None else float(score),
        fields.get("raw"),
        usage,
        fields.get("details"),
        datetime.datetime.fromisoformat(fields["created_at"]).timestamp(),
        str(fields.get("run", "")),
    )
