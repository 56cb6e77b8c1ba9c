"""What a reader of some format hands over: raw records with their places, before anything is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

LABEL_FIELDS = ("labels", "label")  # the first one that a document has holds its gold
SPLIT_ALIASES = {
    "train": ("train", "trn"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test", "tst"),
    "extra": ("extra", "unsup", "unlabelled", "unlabeled"),  # read only where corpus.n_extra asks for it
}


class Record(NamedTuple):
    """One document or label as it stands in its file. `line` counts from 1."""

    fields: Mapping[str, Any]
    file: str
    line: int

    @property
    def where(self) -> str:
        """The record's place, as `file:line`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class ReadOptions:
    """How fields become texts and labels.

    Attributes:
        text: what a document's text is made of, as a template over its fields.
        label_text: what a label's text is made of, as a template over `name`, `description` and the like.
        separator: stands between the labels of one csv cell.
        empty: what becomes of a document without text: an error, or left out and counted.
        packages: the installed packages that `python-docs` reads.
    """

    text: str = "{text}"
    label_text: str = "{name}"
    separator: str = ";"
    empty: str = "error"
    packages: tuple[str, ...] = ("stdlib",)


@dataclass(frozen=True)
class Source:
    """A corpus that a format has found, ready to be read.

    Attributes:
        files: all files that decide the content; the cache is keyed by their size and time.
        splits: a fresh stream of documents for each split there is.
        labels: a fresh stream of labels in the order of their ids, with a field `name`; None = the names that
            the documents bear are the label set.
        unique_names: label names are identities, so a repeated one is an error. Where labels are known by
            number (XMC, PECOS), repeated names are told apart by that number instead.
        version: whatever else decides the content, say the version of a package that is read.
    """

    files: tuple[Path, ...]
    splits: Mapping[str, Callable[[], Iterator[Record]]]
    labels: Callable[[], Iterator[Record]] | None = None
    unique_names: bool = True
    version: str = ""
