"""Texts (or ids) of many documents, one part after the other, read as they are asked for and never all held.

Shape legend: n texts, m asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.corpus.blocks import ReadInBlocks
from lmteach.corpus.documents import Column

if TYPE_CHECKING:
    from lmteach.corpus.documents import Documents


class Texts(ReadInBlocks):
    """Texts of several sources in a row, or some of those; eight bytes each, and none at all while all are shown.

    Args:
        parts: each a list, or a column of documents.
        rows: which of all parts' texts, in which order; None = all.
    """

    def __init__(self, parts: Sequence[Sequence[str]], rows: npt.NDArray[np.int64] | None = None) -> None:
        self._parts, self._rows = list(parts), rows
        self._starts = np.cumsum([0, *map(len, self._parts)], dtype=np.int64)

    @classmethod
    def of(
        cls, documents: Documents, positions: npt.NDArray[np.int64] | None = None, *, field: str = "text"
    ) -> Texts:
        """Return a field of some documents, or of all: their texts, titles or ids."""
        return cls([Column(documents if positions is None else documents.take(positions), field)])

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._rows is None else len(self._rows)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Texts:
        """Return some of them, in the order of `rows`; nothing is read.

        Raises:
            IndexError: a row is out of range.
        """
        return Texts(self._parts, self._locate(rows))

    def followed_by(self, other: Sequence[str]) -> Texts:
        """Return these and then others; nothing is read."""
        return Texts([self, other])

    def at(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> list[str]:
        """Read some of them, in the order of `rows`.

        Raises:
            IndexError: a row is out of range.
        """
        rows_m = self._locate(rows)
        found = [""] * len(rows_m)
        part_m = np.searchsorted(self._starts, rows_m, side="right") - 1
        for i in np.unique(part_m).tolist():
            places = np.flatnonzero(part_m == i)
            local = rows_m[places] - self._starts[i]
            part = self._parts[i]
            read = part.at(local) if isinstance(part, ReadInBlocks) else [part[j] for j in local.tolist()]
            for place, text in zip(places.tolist(), read, strict=True):
                found[place] = text
        return found

    def __repr__(self) -> str:
        return f"Texts(n={len(self)})"

    def _locate(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Translate positions among these texts to positions among all parts'; negative ones count from the end."""
        rows_m, n = np.asarray(rows, dtype=np.int64), len(self)
        bad = (rows_m < -n) | (rows_m >= n)
        if bad.any():
            raise IndexError(f"text {rows_m[bad][0]} of {n}")
        rows_m = np.where(rows_m < 0, rows_m + n, rows_m)
        return rows_m if self._rows is None else self._rows[rows_m]
