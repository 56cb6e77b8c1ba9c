"""What each test document scored, kept in the run folder: intervals, comparisons and reports need no model for it.

Shape legend: n test documents, m of them with gold, k places, l labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.corpus.gold import Gold
from lmteach.errors import RunError
from lmteach.metrics.values import PerDocument
from lmteach.tracking.arrays import read_arrays, write_arrays

FILE = "test_scores.npz"
Values = Mapping[str, Mapping[str, PerDocument]]


@dataclass(frozen=True)
class TestScores:
    """Per-document results of a run's students.

    Attributes:
        documents: names the test documents, their gold and the label set; equal = comparable.
        n_documents: n.
        chosen: which student is the run's.
        values: by student and metric, over the m documents with gold.
        rows_m: where these stand among the n.
        gold: of the n documents.
        label_ids: by student, [n, k] labels best first, -1 = none.
        scores: by student, [n, k] what they were ranked by.
        label_counts_l: how many training documents carry each label; empty where there is no training gold.
    """

    __test__ = False  # of pytest

    documents: str
    n_documents: int
    chosen: str
    values: Values
    rows_m: npt.NDArray[np.int64]
    gold: Gold
    label_ids: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    scores: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    label_counts_l: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def save(self, folder: Path) -> None:
        """Write the file into a run folder, whole or not at all."""
        about = {
            "documents": self.documents,
            "n_documents": self.n_documents,
            "chosen": self.chosen,
            "values": {student: list(metrics) for student, metrics in self.values.items()},
            "students": list(self.label_ids),
        }
        arrays: dict[str, Any] = {
            "about": np.array(json.dumps(about)),
            "rows": self.rows_m,
            "gold_indptr": self.gold.indptr,
            "gold_ids": self.gold.ids.astype(np.int32),
            "label_counts": self.label_counts_l,
        }
        for s, metrics in enumerate(self.values.values()):
            for m, value in enumerate(metrics.values()):
                arrays[f"value_{s}_{m}"] = value.numerators.astype(np.float32)
                if value.denominators is not None:
                    arrays[f"below_{s}_{m}"] = value.denominators.astype(np.float32)
        for s, student in enumerate(self.label_ids):
            arrays[f"ids_{s}"] = self.label_ids[student].astype(np.int32)
            arrays[f"scores_{s}"] = self.scores[student].astype(np.float32)
        write_arrays(folder / FILE, arrays, compressed=True)

    @classmethod
    def load(cls, folder: Path) -> TestScores:
        """Read a run folder's file.

        Raises:
            RunError: it is not there or damaged.
        """
        path = folder / FILE
        if not path.exists():
            raise RunError(
                "This run has kept no scores of single test documents.",
                where=str(folder),
                mend=f"`lmteach evaluate {folder}` makes them; a run that is not finished: `lmteach fit --resume`.",
            )
        with read_arrays(path, "These scores", f"`lmteach evaluate {folder}` makes them anew.") as file:
            return cls._read(file)

    @classmethod
    def _read(cls, file: Any) -> TestScores:
        about = json.loads(str(file["about"]))
        values: dict[str, dict[str, PerDocument]] = {}
        for s, (student, metrics) in enumerate(about["values"].items()):
            values[student] = {}
            for m, metric in enumerate(metrics):
                below = file[f"below_{s}_{m}"].astype(np.float64) if f"below_{s}_{m}" in file else None
                values[student][metric] = PerDocument(file[f"value_{s}_{m}"].astype(np.float64), below)
        return cls(
            documents=about["documents"],
            n_documents=about["n_documents"],
            chosen=about["chosen"],
            values=values,
            rows_m=file["rows"],
            gold=Gold(file["gold_indptr"].astype(np.int64), file["gold_ids"].astype(np.int64)),
            label_ids={student: file[f"ids_{s}"] for s, student in enumerate(about["students"])},
            scores={student: file[f"scores_{s}"] for s, student in enumerate(about["students"])},
            label_counts_l=file["label_counts"],
        )


def name_documents(ids: Sequence[str], gold: Gold, label_names: Sequence[str]) -> str:
    """Return a name for test documents and what is right about them; texts may be put together differently."""
    digest = hashlib.sha256()
    for texts in (ids, label_names):
        for text in texts:
            digest.update(f"{len(text)}:{text}".encode())
        digest.update(b"|")
    digest.update(np.ascontiguousarray(gold.indptr, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(gold.ids, dtype="<i8").tobytes())
    return digest.hexdigest()
