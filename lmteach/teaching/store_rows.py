"""Between records and the rows of the store's tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lmteach.teaching.records import Record
from lmteach.teaching.store_connection import READ, UNREAD, teachers, verdicts
from lmteach.types import Usage

KEEPS = sa.select(
    verdicts.c.key,
    teachers.c.identity,
    *(verdicts.c[name] for name in ("score", "raw", "details", "created_us", "run")),
    *(verdicts.c[name] for name in ("prompt_tokens", "answer_tokens", "seconds", "usd", "joules")),
).join_from(verdicts, teachers, verdicts.c.teacher_id == teachers.c.id)


def teacher_id(identity: str) -> int:
    """Return a number for an identity that all processes agree on without asking (63 bits of its hash)."""
    return int.from_bytes(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:8], "big") >> 1


def write_row(record: Record, now: float, run: str) -> dict[str, Any]:
    """Return the row of a record; `now` and `run` stand in where the record names none."""
    return {
        "key": record.key,
        "teacher_id": teacher_id(record.teacher),
        "score": record.score,
        "flag": UNREAD if record.unread else READ,
        "raw": storable(record.raw),
        "details": record.details,
        "prompt_tokens": record.usage.prompt_tokens,
        "answer_tokens": record.usage.answer_tokens,
        "seconds": record.usage.seconds,
        "usd": record.usage.usd,
        "joules": record.usage.joules,
        "created_us": round((record.created_at or now) * 1e6),
        "run": storable(record.run or run),
    }


def read_record(row: Any) -> Record:
    """Return the record of a row of `KEEPS`."""
    key, identity, score, raw, details, created_us, run, *cost = row
    return Record(bytes(key), identity, score, raw, read_usage(cost), details, created_us / 1e6, run)


def read_usage(cost: Sequence[Any]) -> Usage:
    """Return the usage of (prompt tokens, answer tokens, seconds, usd, joules), or of their sums."""
    prompt, answer, seconds, usd, joules = cost
    measured = None if joules is None else float(joules)
    return Usage(int(prompt), int(answer), float(seconds), float(usd), measured)


def storable(text: str | None) -> str | None:
    """Replace what PostgreSQL (NUL) or UTF-8 (lone surrogates) cannot hold."""
    return None if text is None else text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
