"""The Extreme Classification Repository's raw text: trn.json.gz, tst.json.gz and a file of labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lmteach.corpus.lines import json_records, read_lines
from lmteach.corpus.records import ReadOptions, Record, Source
from lmteach.errors import CorpusError

LOOKS_FOR = "trn.json.gz and tst.json.gz, with lbl.json.gz, Y.txt or Yf.txt"
# Where an archive has several, the first one holds the labels and the others features of theirs.
LABEL_FILES = ("lbl.json.gz", "lbl.json", "Y.txt", "Yf.txt")
_DOCUMENT_FILES = {"train": ("trn.json.gz", "trn.json"), "test": ("tst.json.gz", "tst.json")}


def detect(path: Path) -> bool:
    """Tell whether this is a folder of raw texts from the repository."""
    return _first(path, _DOCUMENT_FILES["train"]) is not None and _first(path, LABEL_FILES) is not None


def _first(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if (path / name).is_file()), None)


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder. A document's fields: uid, title, content, target_ind, and `text` for `content`.

    Labels are known by number; `target_ind` holds their 0-based lines in the labels' file.
    """
    splits = {split: file for split, names in _DOCUMENT_FILES.items() if (file := _first(path, names))}
    labels = _first(path, LABEL_FILES)
    assert labels is not None  # detect() found it
    return Source(
        files=(*splits.values(), labels),
        splits={split: partial(_documents, file) for split, file in splits.items()},
        labels=partial(_json_labels if "json" in labels.name else read_label_lines, labels),
        unique_names=False,
    )


def _documents(path: Path) -> Iterator[Record]:
    seen: set[int] = set()  # hashes of the uids so far
    for record in json_records(path):
        fields = dict(record.fields)
        if "target_ind" not in fields:
            raise CorpusError(
                "The document has no target_ind, so nothing says its labels.", where=record.where
            )
        fields["labels"] = fields["target_ind"]
        fields.setdefault("text", fields.get("content"))
        uid = str(fields.get("uid") or "")
        if uid:
            fields["id"] = f"{uid}#{record.line}" if hash(uid) in seen else uid
            seen.add(hash(uid))
        yield Record(fields, record.file, record.line)


def _json_labels(path: Path) -> Iterator[Record]:
    for record in json_records(path):
        fields = {"description": "", **record.fields}
        fields.setdefault("name", fields.get("title"))
        yield Record(fields, record.file, record.line)


def read_label_lines(path: Path) -> Iterator[Record]:
    """Yield the labels of a file with one name a line: UTF-8 or, failing that, Latin-1, as AmazonCat's is."""
    try:
        lines = list(read_lines(path))
    except CorpusError:
        lines = list(read_lines(path, "latin-1"))
    for n, line in lines:
        yield Record({"name": line.strip(), "description": ""}, str(path), n)
