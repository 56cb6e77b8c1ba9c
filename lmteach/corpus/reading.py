"""Documents to be tagged, streamed one by one from a file or from standard input, their fields kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.corpus.lines import decode_lines, json_records, parse_json
from lmteach.corpus.records import Record
from lmteach.corpus.template import Template, as_text
from lmteach.errors import CorpusError
from lmteach.types import Document


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A document to be tagged, and all fields as they stood in its file, labels and id included."""

    document: Document
    fields: Mapping[str, Any]
    where: str


def read_documents(
    path: str | Path, text: str = "{text}", *, allow_empty: bool = False
) -> Iterator[InputRecord]:
    """Yield the documents of a JSON lines (plain, .gz or .zst), csv, tsv or Parquet file, in order.

    Args:
        path: the file, or `-` for JSON lines on standard input.
        text: what a document's text is made of: a template over its fields.
        allow_empty: let documents without text through, instead of an error.

    Yields:
        Each document without labels. Its id is the field `id`, or the line or row number.

    Raises:
        CorpusError: the file is missing, of an unknown kind or malformed, or a document has no text.
    """
    template = Template(text, "corpus.text")
    for record in _records(path):
        filled = template.fill(record.fields, record.where)
        if not filled.strip():
            if not set(template.fields) & set(record.fields):
                template.check_known(record.fields, record.where)
            if not allow_empty:
                raise CorpusError(
                    "The document has no text.", where=record.where, mend="Give it text, or remove it."
                )
        id_ = as_text(record.fields.get("id"), "id", record.where) or str(record.line)
        title = as_text(record.fields.get("title"), "title", record.where)
        yield InputRecord(Document(id_, filled, None, title), record.fields, record.where)


def _records(path: str | Path) -> Iterator[Record]:
    if str(path) == "-":
        return _standard_input()
    path = Path(path)
    if not path.is_file():
        raise CorpusError(
            "There is no such file." if not path.is_dir() else "This is a folder.", where=str(path)
        )
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return json_records(path)
    if name.endswith((".csv", ".tsv")):
        from lmteach.corpus.formats import csv

        return csv.read_rows(path)
    if name.endswith(".parquet"):
        from lmteach.corpus.formats import parquet

        return parquet.read_rows(path)
    raise CorpusError(
        "This kind of file is not known.",
        where=str(path),
        mend="Use .jsonl, .csv, .tsv (also .gz) or .parquet.",
    )


def _standard_input() -> Iterator[Record]:
    for n, line in decode_lines(sys.stdin.buffer, "standard input"):
        if line and not line.isspace():
            yield Record(parse_json(line, "standard input", n), "standard input", n)
