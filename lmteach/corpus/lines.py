"""Files read line by line, plain or compressed; every fault names its file and line."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmteach.corpus.compressed import ByteStream, open_binary
from lmteach.corpus.records import Record
from lmteach.errors import CorpusError


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a file.

    Only a line feed ends a line, as in JSON lines: a text may hold other line separators of Unicode.

    Raises:
        CorpusError: bad UTF-8, a truncated or corrupt compressed file.
    """
    with open_binary(path) as stream:
        yield from decode_lines(stream, str(path), encoding)


def decode_lines(
    stream: ByteStream, file: str, encoding: str = "utf-8", *, keep_ends: bool = False
) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of an open binary stream; see `read_lines`."""
    n = 0
    lines = _raw_lines(stream)
    while True:
        try:
            raw = next(lines, None)
        except EOFError as error:
            raise CorpusError(
                "The compressed file is truncated: it ends in the middle.",
                where=f"{file}:{n + 1}",
                mend="Fetch or copy the file again.",
            ) from error
        except (OSError, zlib.error) as error:
            raise CorpusError(
                f"The file cannot be read on: {error}.",
                where=f"{file}:{n + 1}",
                mend="Fetch or copy the file again.",
            ) from error
        if raw is None:
            return
        n += 1
        try:
            line = raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"Byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not {encoding.upper()}.",
                where=f"{file}:{n}",
                mend="Convert the file: iconv -f latin1 -t utf-8 OLD > NEW; "
                "or drop such bytes: iconv -c -f utf-8 -t utf-8 OLD > NEW",
            ) from error
        if n == 1:
            line = line.removeprefix("\ufeff")
        yield n, line if keep_ends else line.removesuffix("\n").removesuffix("\r")


def _raw_lines(stream: ByteStream) -> Iterator[bytes]:
    """Split a byte stream at line feeds; not all decompressors iterate over lines."""
    rest = b""
    # `read` of a pipe would wait for a whole block: what has come so far should be worked on.
    read = getattr(stream, "read1", stream.read)
    while block := read(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def parse_json(line: str, file: str, n: int) -> dict[str, Any]:
    """Return the JSON object of one line.

    Raises:
        CorpusError: no JSON, or no object.
    """
    where = f"{file}:{n}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        detail = (
            f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        )
        raise CorpusError(f"The line is not JSON: {detail}.", where=where) from error
    if not isinstance(fields, dict):
        raise CorpusError(f"The line holds no JSON object but {type(fields).__name__}.", where=where)
    return fields


def json_records(path: Path) -> Iterator[Record]:
    """Yield the JSON objects of a JSON lines file; lines of white space are passed over."""
    file = str(path)
    for n, line in read_lines(path):
        if line and not line.isspace():
            yield Record(parse_json(line, file, n), file, n)
