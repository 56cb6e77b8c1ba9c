"""A student's labels changed without retraining: new ones are encoded by the student and served at once.

Shape legend: l labels, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmteach.corpus.template import Template
from lmteach.errors import CorpusError, RunError, nearest_name
from lmteach.serving.load import load_student
from lmteach.serving.student import Student
from lmteach.students.label_set import (
    changing_labels,
    load_label_set,
    read_label_set,
    replace_label_set,
)

FEWEST = 2  # labels that must stay: with one there is nothing to choose between


@dataclass(frozen=True)
class LabelChange:
    """What became of a label set: labels added or removed, left as they were, and all that there are now."""

    n_changed: int
    n_unchanged: int
    n_labels: int


@dataclass(frozen=True)
class NewLabel:
    """A label's name, and the text that is encoded."""

    name: str
    text: str


def read_labels(path: Path, label_text: str) -> list[NewLabel]:
    """Read labels: a text file with a name a line, or JSON lines with `name` and what `label_text` asks for.

    Args:
        label_text: the recipe's template from a label's fields to its text.

    Raises:
        CorpusError: the file cannot be read, is empty, or has a label twice or without a name.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CorpusError(f"The labels cannot be read: {reason}.", where=str(path)) from error
    template = Template(label_text, "corpus.label_text")
    found: dict[str, tuple[NewLabel, int]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        fields = _fields(line, where) if path.suffix == ".jsonl" else {"name": line.strip()}
        name = str(fields["name"]).strip()
        if name in found:
            raise CorpusError(
                f"The label '{name}' is there twice: first on line {found[name][1]}.", where=where
            )
        found[name] = NewLabel(name, template.fill(fields, where)), number
    if not found:
        raise CorpusError("There is no label here.", where=str(path))
    return [label for label, _ in found.values()]


def _fields(line: str, where: str) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise CorpusError(f"This is no JSON: {error}.", where=where) from error
    if not isinstance(fields, dict) or not str(fields.get("name") or "").strip():
        raise CorpusError("The label has no `name`.", where=where)
    return fields


def add_labels(path: Path, labels_path: Path) -> LabelChange:
    """Encode new labels with a student and put them in force; those it knows already are left as they are.

    Args:
        path: a run folder, or one that `lmteach export` wrote.
        labels_path: see `read_labels`.
    """
    student = _tagger(path)
    wanted = read_labels(labels_path, student.about.label_text)
    with changing_labels(student.folder):
        before = load_label_set(student.folder)
        known = set(before.names)
        new = [label for label in wanted if label.name not in known]
        if not new:
            return LabelChange(0, len(wanted), len(before.names))
        vectors_nD = student.encode([label.text for label in new], "label")
        replace_label_set(
            student.folder,
            [*before.names, *(label.name for label in new)],
            [*before.texts, *(label.text for label in new)],
            np.concatenate([before.vectors_lD, vectors_nD]),
            student.about.searcher,
        )
        return LabelChange(len(new), len(wanted) - len(new), len(before.names) + len(new))


def remove_labels(path: Path, labels_path: Path) -> LabelChange:
    """Take labels out of a student's label set; texts no longer get them.

    Raises:
        RunError: the student does not have one of them, or fewer than two would stay.
    """
    student = _tagger(path)
    names = [label.name for label in read_labels(labels_path, "{name}")]
    with changing_labels(student.folder):
        before = load_label_set(student.folder)
        _check_known(names, before.names, labels_path)
        gone = set(names)
        kept = [i for i, name in enumerate(before.names) if name not in gone]
        if len(kept) < FEWEST:
            raise RunError(
                f"Only {len(kept)} of {len(before.names)} labels would stay; a tagger needs {FEWEST}.",
                where=str(path),
            )
        replace_label_set(
            student.folder,
            [before.names[i] for i in kept],
            [before.texts[i] for i in kept],
            np.asarray(before.vectors_lD[kept]),
            student.about.searcher,
        )
        return LabelChange(len(names), 0, len(kept))


def list_labels(path: Path) -> list[tuple[str, bool]]:
    """Return a student's labels, and of each whether it was added after training."""
    folder = student_folder(path)
    trained = set(read_label_set(folder).names)
    return [(name, name not in trained) for name in load_label_set(folder).names]


def student_folder(path: Path) -> Path:
    """Return where the student and its label set lie: a run's `student/`, or the exported folder itself.

    Raises:
        RunError: there is neither.
    """
    folder = path / "student" if (path / "recipe.yaml").is_file() else path
    if not (folder / "labels.jsonl").is_file():
        raise RunError(
            "There is no tagger here.",
            where=str(path),
            mend="Name the folder of a finished run, or one that `lmteach export` wrote.",
        )
    return folder


def _tagger(path: Path) -> Student:
    student_folder(path)
    student = load_student(path)
    if student.kind != "tagger":
        raise RunError(
            "A classifier's classes are part of its weights; only a tagger's labels can change.",
            where=str(path),
        )
    return student


def _check_known(names: Sequence[str], known: Sequence[str], where: Path) -> None:
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise RunError(
            f"The student has no label '{unknown[0]}'{more}.",
            where=str(where),
            nearest=nearest_name(unknown[0], known),
        )
