"""A student's label set on disk: names, texts, vectors, and where it pays an index; replaced as a whole.

student/
  labels.jsonl, label_vectors.npy    what the student was trained with
  label_set.json                     {"folder": "label_sets/0002"}: the label set in force, if it was changed since
  label_sets/0002/                   labels.jsonl, label_vectors.npy, perhaps index/

A change writes a new folder and then replaces label_set.json, so a reader sees the old set or the new one, never
names of one with vectors of the other. Shape legend: l labels, D dimensions.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.errors import RunError
from lmteach.tracking.run_folder import read_json, write_json, write_whole

if TYPE_CHECKING:
    from lmteach.search.protocol import Searcher, Vectors

LABELS, VECTORS, INDEX = "labels.jsonl", "label_vectors.npy", "index"
POINTER, SETS, LOCK = "label_set.json", "label_sets", ".labels.lock"
INDEX_FROM = 20_000  # labels; with fewer, exact search over the mapped vectors needs no index of its own


@dataclass(frozen=True)
class LabelVectors:
    """A label set as it is served.

    Attributes:
        folder: where it lies.
        names, texts: of each label; the text is what was encoded.
        vectors_lD: memory-mapped.
    """

    folder: Path
    names: list[str]
    texts: list[str]
    vectors_lD: Vectors

    @property
    def index(self) -> Path | None:
        """Return the folder of the saved index, if there is one."""
        return self.folder / INDEX if (self.folder / INDEX).is_dir() else None


def save_labels(folder: Path, names: Sequence[str], texts: Sequence[str], vectors_lD: Vectors) -> None:
    """Write a label set and its vectors, each file whole or not at all."""

    def write_lines(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for name, text in zip(names, texts, strict=True):
                file.write(json.dumps({"name": name, "text": text}, ensure_ascii=False) + "\n")

    def write_vectors(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, vectors_lD)

    write_whole(folder / LABELS, write_lines)
    write_whole(folder / VECTORS, write_vectors)


def save_index(folder: Path, searcher: Mapping[str, Any], vectors_lD: Vectors) -> bool:
    """Build and save the index of a large label set beside it, where the searcher is one that takes time to build.

    Args:
        searcher: the recipe's section.

    Returns:
        Whether there is one now.
    """
    if searcher.get("name") not in ("auto", "scann") or len(vectors_lD) < INDEX_FROM:
        return False
    from lmteach import registry

    built: Searcher = registry.build("searcher", searcher)
    built.build(vectors_lD)
    expect = getattr(built, "expect", None)
    if expect is not None:
        expect(10_000_000)  # a student at work is asked without end
    if getattr(built, "is_exact", False):
        return False
    built.save(folder / INDEX)
    return True


def current_folder(folder: Path) -> Path:
    """Return where a student's label set in force lies.

    Raises:
        RunError: label_set.json is damaged.
    """
    pointer = folder / POINTER
    try:
        return folder / str(read_json(pointer)["folder"])
    except FileNotFoundError:
        return folder
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"This cannot be read: {error}.",
            where=str(pointer),
            mend="Delete it to go back to the labels that the student was trained with.",
        ) from error


def load_label_set(folder: Path) -> LabelVectors:
    """Return a student's label set in force.

    Raises:
        RunError: it is missing, or its parts do not fit each other.
    """
    return read_label_set(current_folder(folder))


def load_labels(folder: Path) -> tuple[list[str], Vectors]:
    """Return a student's label names and vectors, the vectors memory-mapped.

    Raises:
        RunError: they are missing or do not fit each other.
    """
    found = load_label_set(folder)
    return found.names, found.vectors_lD


def read_label_set(folder: Path) -> LabelVectors:
    """Return the label set that lies in `folder` itself.

    Raises:
        RunError: it is missing, or its parts do not fit each other.
    """
    try:
        with (folder / LABELS).open(encoding="utf-8", newline="\n") as file:
            lines = [json.loads(line) for line in file]  # a name may hold U+2028
        names = [str(line["name"]) for line in lines]
        texts = [str(line.get("text", line["name"])) for line in lines]
        # Copy-on-write: mapped like a read-only file, but torch need not warn that it cannot be written.
        vectors: Any = np.load(folder / VECTORS, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"This student has no label set that can be read: {error}.",
            where=str(folder),
            mend="Finish its run with `lmteach fit --resume`.",
        ) from error
    if len(names) != len(vectors):
        raise RunError(f"There are {len(names)} labels and {len(vectors)} label vectors.", where=str(folder))
    return LabelVectors(folder, names, texts, vectors)


@contextmanager
def changing_labels(folder: Path) -> Iterator[None]:
    """Keep others from changing a student's label set at the same time; they wait."""
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def replace_label_set(
    folder: Path,
    names: Sequence[str],
    texts: Sequence[str],
    vectors_lD: Vectors,
    searcher: Mapping[str, Any],
) -> Path:
    """Put another label set in force, at once and whole; return its folder. Call it within `changing_labels`.

    The set before stays on disk for those who are reading it; older ones are removed.
    """
    sets = folder / SETS
    sets.mkdir(exist_ok=True)
    before = current_folder(folder)
    known = sorted(p for p in sets.iterdir() if p.is_dir() and p.name.isdigit())
    number = int(known[-1].name) + 1 if known else 1
    new = sets / f"{number:04d}"

    def write(path: Path) -> None:
        path.mkdir()
        save_labels(path, names, texts, vectors_lD)
        save_index(path, searcher, vectors_lD)

    write_whole(new, write)
    write_json(folder / POINTER, {"folder": f"{SETS}/{new.name}"})
    for old in known:
        if old != before:
            shutil.rmtree(old, ignore_errors=True)
    return new
