"""Which files of a folder belong to which split, and the label set beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmteach.corpus.lines import json_records, read_lines
from lmteach.corpus.records import SPLIT_ALIASES, Record
from lmteach.errors import CorpusError

LABEL_FILES = ("labels.jsonl", "labels.jsonl.gz", "labels.txt")


def split_files(path: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Find each split's files: `train.ENDING`, or shards `train-00000-of-00004.ENDING`; a lone file is train.

    Args:
        path: a corpus folder or a single file.
        endings: what the names end in, without the leading dot.

    Returns:
        The splits there are, in the order train, dev, test, extra, each with its files in order.
    """
    ending = "|".join(re.escape(e) for e in endings)
    if path.is_file():
        return {"train": [path]} if re.search(rf"\.({ending})$", path.name) else {}
    if not path.is_dir():
        return {}
    names = sorted(p for p in path.iterdir() if p.is_file())
    found = {}
    for split, aliases in SPLIT_ALIASES.items():
        shape = re.compile(rf"({'|'.join(aliases)})(-\d+(-of-\d+)?)?\.({ending})")
        if files := [p for p in names if shape.fullmatch(p.name)]:
            found[split] = files
    return found


def label_file(path: Path) -> Path | None:
    """Return the label set's file in the folder, or beside the file, at `path`; None where there is none."""
    folder = path if path.is_dir() else path.parent
    return next((folder / name for name in LABEL_FILES if (folder / name).is_file()), None)


def label_files(path: Path) -> list[Path]:
    """Return every file that decides the label set: that of `label_file`, and a `label_ids.txt` beside it."""
    labels = label_file(path)
    if labels is None:
        return []
    ids = labels.parent / "label_ids.txt"
    return [labels, ids] if labels.name == "labels.txt" and ids.is_file() else [labels]


def read_labels(path: Path) -> Iterator[Record]:
    """Yield the labels of a label set's file.

    `labels.jsonl` holds objects with a field `name`; `labels.txt` a `name`, or `name TAB description`, a
    line. A `label_ids.txt` beside the latter, one a line, adds the field `id`.

    Raises:
        CorpusError: a line is malformed, or the two files differ in length.
    """
    if path.name != "labels.txt":
        for record in json_records(path):
            yield Record({"description": "", **record.fields}, record.file, record.line)
        return
    ids_file = path.parent / "label_ids.txt"
    ids = [id_ for _, id_ in read_lines(ids_file)] if ids_file.is_file() else None
    n = 0
    for n, line in read_lines(path):
        name, _, description = line.partition("\t")
        fields = {"name": name.strip(), "description": description.strip()}
        if ids is not None and n <= len(ids):
            fields["id"] = ids[n - 1]
        yield Record(fields, str(path), n)
    if ids is not None and len(ids) != n:
        raise CorpusError(f"There are {len(ids)} ids for the {n} labels of {path.name}.", where=str(ids_file))
