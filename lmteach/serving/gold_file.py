"""A file of labelled documents as truth to fit thresholds on. Shape legend: n documents, k labels of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.errors import CorpusError, nearest_name
from lmteach.serving.thresholds import Candidates, ScoreCalibration, Targets, fit_calibration

if TYPE_CHECKING:
    from lmteach.serving.student import StudentAtWork

DEPTH = 50  # labels of each document that are looked at


def calibrate_on_file(
    student: StudentAtWork, path: Path, text: str, targets: Targets
) -> ScoreCalibration | None:
    """Fit a student's thresholds to gold: documents with `labels`, names or ids.

    Args:
        path: jsonl, csv or parquet, as `lmteach predict` reads it.
        text: what a document's text is made of.

    Raises:
        CorpusError: the file cannot be read, or names a label that the student does not have.
    """
    from lmteach.corpus.reading import read_documents

    names = list(student.names)
    ids = {name: i for i, name in enumerate(names)}
    texts, gold = [], []
    for record in read_documents(path, text):
        texts.append(record.document.text)
        gold.append({names[i] for i in _label_ids(record.fields.get("labels"), ids, record.where)})
    if not texts:
        raise CorpusError("There is no document here.", where=str(path))
    candidates = judge_by_gold(student, texts, gold)
    return fit_calibration(candidates, f"the gold labels of {len(texts):,} documents ({path.name})", targets)


def judge_by_gold(student: StudentAtWork, texts: Sequence[str], gold: Sequence[set[str]]) -> Candidates:
    """Return a student's first labels of some texts, and which of them are gold."""
    tags = student.predict(texts, DEPTH)
    width = max((len(found.labels) for found in tags), default=0)
    scores_nk = np.full((len(tags), width), -np.inf, dtype=np.float32)
    right_nk = np.zeros((len(tags), width), dtype=bool)
    for row, (found, wanted) in enumerate(zip(tags, gold, strict=True)):
        scores_nk[row, : len(found.scores)] = found.scores
        right_nk[row, : len(found.labels)] = [label in wanted for label in found.labels]
    return Candidates(scores_nk, np.isfinite(scores_nk), right_nk, sum(len(wanted) for wanted in gold))


def _label_ids(value: Any, ids: dict[str, int], where: str) -> list[int]:
    if value is None:
        raise CorpusError("The document has no `labels`.", where=where)
    found = []
    for label in value if isinstance(value, list | tuple) else [value]:
        if isinstance(label, str) and label in ids:
            found.append(ids[label])
        elif isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(ids):
            found.append(label)
        else:
            near = nearest_name(label, ids) if isinstance(label, str) else None
            raise CorpusError(f"The student has no label {label!r}.", where=where, nearest=near)
    return found
