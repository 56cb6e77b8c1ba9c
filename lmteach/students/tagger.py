"""A trained tagger at work: the student's encoder, its label set, and the label vectors it was saved with.

Shape legend: n texts, l labels, k labels a text, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.errors import RunError
from lmteach.students.encode import encode_texts
from lmteach.students.protocol import Encoder
from lmteach.tracking.run_folder import write_whole

if TYPE_CHECKING:
    import numpy.typing as npt

    from lmteach.search.protocol import Searcher, Vectors

LABELS, VECTORS = "labels.jsonl", "label_vectors.npy"


@dataclass(frozen=True)
class Tags:
    """One text's k nearest labels, best first, with their cosines."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]


def save_labels(folder: Path, names: Sequence[str], texts: Sequence[str], vectors_lD: Vectors) -> None:
    """Write a student's label set and label vectors beside its encoder, each whole or not at all."""

    def write_lines(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for name, text in zip(names, texts, strict=True):
                file.write(json.dumps({"name": name, "text": text}, ensure_ascii=False) + "\n")

    def write_vectors(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, vectors_lD)

    write_whole(folder / LABELS, write_lines)
    write_whole(folder / VECTORS, write_vectors)


def load_labels(folder: Path) -> tuple[list[str], Vectors]:
    """Return a student's label names and vectors, the vectors memory-mapped.

    Raises:
        RunError: they are missing or do not fit each other.
    """
    try:
        with (folder / LABELS).open(encoding="utf-8", newline="\n") as file:
            names = [str(json.loads(line)["name"]) for line in file]  # a name may hold U+2028
        vectors: Any = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"This student has no label set that can be read: {error}.",
            where=str(folder),
            mend="Finish its run with `lmteach fit --resume`.",
        ) from error
    if len(names) != len(vectors):
        raise RunError(f"There are {len(names)} labels and {len(vectors)} label vectors.", where=str(folder))
    return names, vectors


class Tagger:
    """Tags texts.

    Args:
        encoder: the student.
        names: its labels.
        searcher: built over the label vectors, in the order of `names`.
        device: where it computes.
        precision: `fp32` or `bf16`.
    """

    def __init__(
        self, encoder: Encoder, names: Sequence[str], searcher: Searcher, *, device: str, precision: Any
    ) -> None:
        self.encoder, self.names, self.searcher = encoder, list(names), searcher
        self.device, self.precision = device, precision

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return the `top_k` nearest labels of each text, all of them where there are fewer."""
        if not texts:
            return []
        vectors_nD = encode_texts(self.encoder, texts, "search", device=self.device, precision=self.precision)
        ids_nk, scores_nk = self.searcher.search(vectors_nD, top_k)
        return [self._tags(ids, scores) for ids, scores in zip(ids_nk, scores_nk, strict=True)]

    def _tags(self, ids_k: npt.NDArray[np.int64], scores_k: npt.NDArray[np.float32]) -> Tags:
        found = ids_k >= 0
        return Tags(
            tuple(self.names[i] for i in ids_k[found].tolist()),
            tuple(round(float(score), 6) for score in scores_k[found]),
        )
