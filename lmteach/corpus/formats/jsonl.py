"""JSON lines, plain or compressed: `train.jsonl.gz`, `dev`, `test` alike, with a `labels.txt` beside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lmteach.corpus.formats.files import label_files, read_labels, split_files
from lmteach.corpus.lines import json_records
from lmteach.corpus.records import ReadOptions, Record, Source

ENDINGS = ("jsonl", "jsonl.gz", "jsonl.zst")
LOOKS_FOR = "train.jsonl, train.jsonl.gz or train.jsonl.zst (also dev, test), with labels.txt"


def detect(path: Path) -> bool:
    """Tell whether this is a corpus in JSON lines."""
    return bool(split_files(path, ENDINGS))


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder or a single file; `labels` are 0-based lines of labels.txt, or names."""
    splits = split_files(path, ENDINGS)
    labels = label_files(path)
    files = [file for split in splits.values() for file in split]
    return Source(
        files=(*files, *labels),
        splits={split: partial(_records, shards) for split, shards in splits.items()},
        labels=partial(read_labels, labels[0]) if labels else None,
    )


def _records(files: list[Path]) -> Iterator[Record]:
    for file in files:
        yield from json_records(file)
