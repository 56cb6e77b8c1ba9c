"""Gold labels as compressed sparse rows, and the seal that keeps them unread until training is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
GoldAccess = Literal["open", "sealed", "withheld"]


@dataclass(frozen=True)
class Gold:
    """Gold label ids of n documents, as compressed sparse rows: `ids[indptr[i]:indptr[i + 1]]`, sorted."""

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, i: int) -> npt.NDArray[np.int64]:
        """Return the gold label ids of document i."""
        return self.ids[self.indptr[i] : self.indptr[i + 1]]

    def take(self, rows: Rows) -> Gold:
        """Return the gold of some documents, in the order of `rows`."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Gold(indptr, self.ids[np.repeat(self.indptr[rows], lengths) + within])


class Seal:
    """Shared by a sealed view and every view taken of it, so that opening one opens all."""

    def __init__(self) -> None:
        self.closed = True
