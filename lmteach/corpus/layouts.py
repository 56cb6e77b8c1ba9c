"""The forms that a known set's files may come in, as recipes read them.

Standard library only, as the catalogue that names them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lmteach.corpus.archives import Members


class Form(Protocol):
    """How a set's files lie in an archive or folder."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The files that make it, as a person would look for them."""

    def homes(self, members: Members) -> list[PurePosixPath]:
        """Return the folders in which all of them lie."""

    def write(self, members: Members, home: PurePosixPath, folder: Path) -> None:
        """Write the set into `folder` as recipes read it.

        Raises:
            CorpusError: a file is malformed.
        """


@dataclass(frozen=True)
class Layout:
    """Files that together make a set: each entry lists names that serve alike, the first found is taken."""

    format: str
    needed: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return what `names` lack, alternatives joined by `or`."""
        return [
            " or ".join(alternatives) for alternatives in self.needed if not set(alternatives) & set(names)
        ]

    def taken(self, names: Sequence[str]) -> list[str]:
        """Return those of `names` that belong to the set."""
        chosen = [next((n for n in alternatives if n in names), None) for alternatives in self.needed]
        return [*(n for n in chosen if n is not None), *(n for n in self.optional if n in names)]

    @property
    def wanted(self) -> tuple[str, ...]:
        """See `Form`."""
        return tuple(self.missing([]))

    def homes(self, members: Members) -> list[PurePosixPath]:
        """See `Form`."""
        names: dict[PurePosixPath, list[str]] = {}
        for path in members:
            names.setdefault(path.parent, []).append(path.name)
        return [home for home, there in names.items() if not self.missing(there)]

    def write(self, members: Members, home: PurePosixPath, folder: Path) -> None:
        """See `Form`: its files are copied."""
        names = self.taken([path.name for path in members if path.parent == home])
        for path, open_member in members.items():
            if path.parent == home and path.name in names:
                with open_member() as source, (folder / path.name).open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


XMC = Layout("xmc", (("trn.json.gz",), ("tst.json.gz",), ("lbl.json.gz", "Y.txt", "Yf.txt")))
PECOS = Layout(
    "pecos", (("X.trn.txt",), ("X.tst.txt",), ("Y.trn.npz",), ("Y.tst.npz",), ("output-items.txt",))
)
JSONL = Layout(
    "jsonl",
    (("train.jsonl.gz",), ("test.jsonl.gz",), ("labels.txt",)),
    (
        "label_ids.txt",
        "label_meta.jsonl.gz",
        "label_codes.txt",
        "stats.json",
        "unsup.jsonl.zst",
        "unsup.jsonl.gz",
        "README.md",
    ),
)
JSONL_DEV = Layout(
    "jsonl",
    (("train.jsonl.gz",), ("dev.jsonl.gz",), ("test.jsonl.gz",), ("labels.txt",)),
    ("label_meta.jsonl.gz", "train_sentences.jsonl.gz", "stats.json", "README.md"),
)

JSONL_EXTRA = Layout(
    "jsonl",
    (("train.jsonl.gz",), ("test.jsonl.gz",), ("extra.jsonl.gz",), ("labels.txt",)),
    ("README.md",),
)
