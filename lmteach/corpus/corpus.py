"""A corpus in use: documents with random access, a label set, and gold that is sealed until it may be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from lmteach.types import Document


@dataclass(frozen=True)
class LabelSet:
    """Label ids are positions. `texts` is what is encoded and prompted: the name, with a description if any."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


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
