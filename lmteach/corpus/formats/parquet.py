"""Parquet files: columns text, labels (ids or names), and any others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lmteach.corpus.formats.files import label_files, read_labels, split_files
from lmteach.corpus.records import ReadOptions, Record, Source
from lmteach.errors import CorpusError

ENDINGS = ("parquet",)
LOOKS_FOR = "train.parquet or train-00000-of-00004.parquet (also dev, test)"
_ROWS_AT_ONCE = 1024


def detect(path: Path) -> bool:
    """Tell whether this is a corpus in Parquet files."""
    return bool(split_files(path, ENDINGS))


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder or a single file; the column `labels` holds ids into labels.txt, or names."""
    splits = split_files(path, ENDINGS)
    labels = label_files(path)
    return Source(
        files=(*(file for files in splits.values() for file in files), *labels),
        splits={split: partial(_all_rows, files) for split, files in splits.items()},
        labels=partial(read_labels, labels[0]) if labels else None,
    )


def _all_rows(files: list[Path]) -> Iterator[Record]:
    for file in files:
        yield from read_rows(file)


def read_rows(path: Path) -> Iterator[Record]:
    """Yield the rows of a Parquet file; `line` is the row's number from 1.

    Raises:
        CorpusError: it is no Parquet file, or a damaged one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 0
    try:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    n += 1
                    yield Record(row, str(path), n)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise CorpusError(f"The Parquet file cannot be read: {error}", where=f"{path}:{n + 1}") from error
