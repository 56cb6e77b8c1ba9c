"""From document vectors to the labels that the teacher is asked about, and the file that keeps them.

Shape legend: q documents, D dimensions, k labels kept a document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError, RecipeError, RunError
from lmteach.search.protocol import Ids, Searcher, Vectors
from lmteach.tracking.arrays import read_arrays, write_arrays

_CHUNK = 1 << 23  # retrieved ids held at a time: 100 MB with their scores


@dataclass(frozen=True)
class Shortlist:
    """The nearest labels of q documents, best first.

    Attributes:
        positions_q: int64, where the documents stand in their corpus.
        label_ids_qk: int32; places without a label come last and hold -1.
        scores_qk: float32 cosines; -inf where there is no label.
    """

    positions_q: npt.NDArray[np.int64]
    label_ids_qk: npt.NDArray[np.int32]
    scores_qk: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.label_ids_qk.shape != self.scores_qk.shape or self.label_ids_qk.ndim != 2:
            raise LmteachError(
                f"A shortlist's ids {self.label_ids_qk.shape} and scores {self.scores_qk.shape} do not match."
            )
        if self.positions_q.shape != self.label_ids_qk.shape[:1]:
            raise LmteachError(
                f"A shortlist of {len(self.label_ids_qk)} rows has {self.positions_q.shape} positions."
            )

    def __len__(self) -> int:
        return len(self.positions_q)

    def of(self, row: int, n: int | None = None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the label ids and scores of a row, best first, without empty places; at most `n`."""
        ids, scores = self.label_ids_qk[row, :n], self.scores_qk[row, :n]
        return ids[ids >= 0], scores[ids >= 0]

    def save(self, path: Path) -> None:
        """Write an npz file whole or not at all: a kill or a full disk leaves what was there before.

        Raises:
            RunError: it cannot be written.
        """
        try:
            write_arrays(
                Path(path),
                {"positions": self.positions_q, "label_ids": self.label_ids_qk, "scores": self.scores_qk},
            )
        except OSError as error:
            raise RunError(f"The shortlist cannot be written: {error.strerror}.", where=str(path)) from error

    @classmethod
    def load(cls, path: Path) -> Shortlist:
        """Read what `save` wrote.

        Raises:
            RunError: there is no such file, or it is no shortlist.
        """
        if not Path(path).exists():
            raise RunError("There is no shortlist here.", where=str(path))
        with read_arrays(path, "This shortlist", "Delete the file; the run makes it anew.") as file:
            return cls(file["positions"], file["label_ids"], file["scores"])


def make_shortlist(
    positions_q: npt.NDArray[np.int64],
    vectors_qD: Vectors,
    searcher: Searcher,
    *,
    n_retrieved: int = 300,
    n_kept: int = 30,
    advance: Callable[[int], None] | None = None,
) -> Shortlist:
    """Find each document's nearest labels.

    A searcher is asked for `n_retrieved` labels, of which the best `n_kept` stay: an approximate search finds
    more of the best ones when asked for many. One that says it `is_exact` is asked for `n_kept` alone, which
    gives the same. Both counts are clipped to the label set.

    Args:
        positions_q: where the documents stand in their corpus.
        vectors_qD: their L2-normalised vectors; may be memory-mapped.
        searcher: built over the label vectors.
        n_retrieved: labels asked of the searcher.
        n_kept: labels kept.
        advance: called with the number of documents done, after each chunk.

    Raises:
        LmteachError: vectors and positions do not match, or the searcher refuses the vectors.
        RecipeError: `n_kept` above `n_retrieved`, or below 1.
    """
    if len(positions_q) != len(vectors_qD):
        raise LmteachError(f"{len(positions_q)} positions do not match {len(vectors_qD)} document vectors.")
    if not 1 <= n_kept <= n_retrieved:
        raise RecipeError(
            f"Of {n_retrieved} labels retrieved, {n_kept} cannot be kept: keep 1 to {n_retrieved}.",
            where="search.n_kept, search.n_retrieved",
        )
    if getattr(searcher, "is_exact", False):
        n_retrieved = n_kept
    expect = getattr(searcher, "expect", None)
    if expect is not None:
        expect(len(vectors_qD))
    # At least one search, so that no documents at all still give an array of the right width.
    rows = max(1, _CHUNK // n_retrieved)
    ids, scores = [], []
    for start in range(0, max(1, len(vectors_qD)), rows):
        found_ids, found_scores = searcher.search(vectors_qD[start : start + rows], n_retrieved)
        found_ids, found_scores = _without_gaps(found_ids, found_scores)
        ids.append(found_ids[:, :n_kept].astype(np.int32))
        scores.append(found_scores[:, :n_kept])
        if advance is not None:
            advance(len(found_ids))
    return Shortlist(np.asarray(positions_q, dtype=np.int64), np.concatenate(ids), np.concatenate(scores))


def _without_gaps(ids_qk: Ids, scores_qk: Vectors) -> tuple[Ids, Vectors]:
    """Move empty places behind the found labels, whose order stays."""
    empty = ids_qk < 0
    if not empty.any():
        return ids_qk, scores_qk
    order = np.argsort(empty, axis=1, kind="stable")
    scores_qk = np.where(empty, np.float32(-np.inf), scores_qk)
    return np.take_along_axis(ids_qk, order, 1), np.take_along_axis(scores_qk, order, 1)
