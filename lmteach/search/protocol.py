"""What a searcher is: given label vectors, it finds each query's nearest labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@runtime_checkable
class Searcher(Protocol):
    """Maximum inner product search. Shape legend: l labels, q queries, D dimensions, k results a query.

    Built as `MySearcher(config)`. Vectors are L2-normalised by the caller, so inner product = cosine.

    Two things a searcher may have besides: `is_exact` (bool): nothing is gained by asking it for more labels than
    are kept; `expect(n_queries)`: called before many searches, for one that chooses how to go about them.
    """

    Config: ClassVar[type[Any]]

    def build(self, vectors_lD: Vectors) -> None:
        """Index the label vectors; row number = label id.

        Raises:
            LmteachError: empty, not finite, or not two-dimensional vectors.
        """

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        """Return (ids_qk, scores_qk), best first; exactly min(k, l) columns.

        A place for which nothing was found holds id -1 and score -inf: never a made-up label.
        """

    def save(self, folder: Path) -> None:
        """Write the index so that `load` in another place and process finds the same."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, memory-mapped where possible."""
