"""Comma- or tab-separated files: a header, a column of text, the labels' names in one column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lmteach.corpus.compressed import open_binary
from lmteach.corpus.formats.files import label_files, read_labels, split_files
from lmteach.corpus.lines import decode_lines
from lmteach.corpus.records import LABEL_FIELDS, ReadOptions, Record, Source
from lmteach.errors import CorpusError

ENDINGS = ("csv", "csv.gz", "tsv", "tsv.gz")
LOOKS_FOR = "train.csv or train.tsv, plain or .gz (also dev, test), with a header"
_FIELD_LIMIT = 2**31 - 1  # the csv module's own limit of 128 kB is less than a long document


def detect(path: Path) -> bool:
    """Tell whether this is a corpus in csv files."""
    return bool(split_files(path, ENDINGS))


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder or a single file; the column `labels` holds names, `options.separator` between them."""
    splits = split_files(path, ENDINGS)
    labels = label_files(path)
    return Source(
        files=(*(file for files in splits.values() for file in files), *labels),
        splits={split: partial(_labelled, files, options.separator) for split, files in splits.items()},
        labels=partial(read_labels, labels[0]) if labels else None,
    )


def _labelled(files: list[Path], separator: str) -> Iterator[Record]:
    for file in files:
        for record in read_rows(file):
            fields: dict[str, object] = dict(record.fields)
            for name in LABEL_FIELDS:
                if name in record.fields:
                    cell = record.fields[name]
                    fields[name] = [label.strip() for label in cell.split(separator) if label.strip()]
            yield Record(fields, record.file, record.line)


def read_rows(path: Path) -> Iterator[Record]:
    """Yield the rows of a csv file as they are, all cells as text; `line` is where a row begins.

    Raises:
        CorpusError: no header, columns that cannot be told apart, a row of another length, an open quote.
    """
    file, csv_limit = str(path), csv.field_size_limit(_FIELD_LIMIT)
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    try:
        with open_binary(path) as stream:
            lines = (line for _, line in decode_lines(stream, file, keep_ends=True))
            yield from _rows(csv.reader(lines, delimiter=delimiter, strict=True), file)
    finally:
        csv.field_size_limit(csv_limit)


def _rows(reader: Any, file: str) -> Iterator[Record]:
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _checked_header(cells, file)
                continue
            if len(cells) != len(header):
                raise CorpusError(
                    f"The row has {len(cells)} cells, the header {len(header)}.",
                    where=f"{file}:{begins}",
                    mend="Put a cell that holds the delimiter or a line break between double quotes.",
                )
            yield Record(dict(zip(header, cells, strict=True)), file, begins)
    except csv.Error as error:
        raise CorpusError(f"The row cannot be read: {error}.", where=f"{file}:{line}") from error


def _checked_header(cells: list[str], file: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    wrong: Mapping[str, str] = {
        n: "is there twice" if n else "has no name" for n in names if names.count(n) > 1 or not n
    }
    for name, fault in wrong.items():
        raise CorpusError(f"A column of the header {fault}: '{name}'.", where=f"{file}:1")
    return names
