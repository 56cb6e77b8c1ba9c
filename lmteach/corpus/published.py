"""Known sets in the form that their publishers give them, written anew as JSON lines with a labels.txt.

Standard library only, as the catalogue that names them.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lmteach.corpus.lines import decode_lines
from lmteach.errors import CorpusError

if TYPE_CHECKING:
    from lmteach.corpus.archives import Members

SPLITS = ("train", "test")


@dataclass(frozen=True)
class TextFolders:
    """One text a file, `SPLIT/CLASS/NAME.txt`, as in the Large Movie Review data set.

    Attributes:
        classes: each folder's label.
        unlabelled: a folder beside those of the training classes whose texts have no label.
    """

    classes: Mapping[str, str]
    unlabelled: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """See `layouts.Form`."""
        return tuple(f"{split}/{name}/*.txt" for split in SPLITS for name in self.classes)

    def homes(self, members: Members) -> list[PurePosixPath]:
        """See `layouts.Form`."""
        found: dict[PurePosixPath, set[str]] = {}
        for path in members:
            if path.suffix == ".txt" and len(path.parts) >= 3:
                found.setdefault(path.parents[2], set()).add(f"{path.parts[-3]}/{path.parts[-2]}/*.txt")
        return [home for home, there in found.items() if there.issuperset(self.wanted)]

    def write(self, members: Members, home: PurePosixPath, folder: Path) -> None:
        """See `layouts.Form`; documents lie in the order of their classes and of the numbers in their names."""
        places = {f"{split}/{name}": split for split in SPLITS for name in self.classes}
        if self.unlabelled:
            places[f"train/{self.unlabelled}"] = "unsup"
        class_of = {name: i for i, name in enumerate(self.classes)}
        documents: dict[str, list[dict[str, Any]]] = {split: [] for split in places.values()}
        # In the archive's order: seeking in a .tar.gz reads it anew.
        for path, open_member in members.items():
            place = path.parent.relative_to(home).as_posix() if path.is_relative_to(home) else ""
            if path.suffix == ".txt" and place in places:
                with open_member() as file:
                    text = _decoded(file.read(), path).replace("<br />", "\n")
                labels = [class_of[path.parent.name]] if path.parent.name in class_of else []
                document = {"id": f"{place}/{path.stem}", "text": text, "labels": labels}
                documents[places[place]].append(document)
        for split, found in documents.items():
            if found:
                _write_lines(folder / f"{split}.jsonl.gz", sorted(found, key=_by_numbers))
        _write_labels(folder, self.classes.values())


def _by_numbers(document: Mapping[str, Any]) -> tuple[str, list[int], str]:
    place, _, name = document["id"].rpartition("/")
    return place, [int(number) for number in re.findall(r"\d+", name)], name


@dataclass(frozen=True)
class NumberedRows:
    """`train.csv` and `test.csv` without a header, as in AG's news: a class counted from 1, a title, a text.

    Title and text become one, a blank between them.

    Attributes:
        classes: their names, in the order of their numbers.
    """

    classes: tuple[str, ...]

    @property
    def wanted(self) -> tuple[str, ...]:
        """See `layouts.Form`."""
        return tuple(f"{split}.csv" for split in SPLITS)

    def homes(self, members: Members) -> list[PurePosixPath]:
        """See `layouts.Form`."""
        return [
            path.parent
            for path in members
            if path.name == self.wanted[0] and all(path.with_name(name) in members for name in self.wanted)
        ]

    def write(self, members: Members, home: PurePosixPath, folder: Path) -> None:
        """See `layouts.Form`."""
        for split in SPLITS:
            path = home / f"{split}.csv"
            with members[path]() as file:
                lines = (line for _, line in decode_lines(file, str(path), keep_ends=True))
                _write_lines(folder / f"{split}.jsonl.gz", self._documents(lines, split, path))
        _write_labels(folder, self.classes)

    def _documents(self, lines: Iterator[str], split: str, path: PurePosixPath) -> Iterator[dict[str, Any]]:
        numbers = {str(i): i - 1 for i in range(1, len(self.classes) + 1)}
        rows = csv.reader(lines, strict=True)
        try:
            for n, cells in enumerate(cells for cells in rows if cells):
                if len(cells) != 3 or cells[0] not in numbers:
                    raise CorpusError(
                        f"The row is no class from 1 to {len(self.classes)}, a title and a text.",
                        where=f"{path}:{rows.line_num}",
                    )
                yield {"id": f"{split}/{n}", "text": " ".join(cells[1:]), "labels": [numbers[cells[0]]]}
        except csv.Error as error:
            raise CorpusError(f"The row cannot be read: {error}.", where=f"{path}:{rows.line_num}") from error


def _decoded(content: bytes, path: PurePosixPath) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"This is not UTF-8 at byte {error.start}.", where=str(path)) from error


def _write_lines(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")


def _write_labels(folder: Path, names: Iterable[str]) -> None:
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
