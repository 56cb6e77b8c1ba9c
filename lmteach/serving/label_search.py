"""The search over a student's label set at work: its saved index, the recipe's searcher, or numpy alone.

Shape legend: l labels, q queries, D dimensions, k results a query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmteach.students.label_set import LabelVectors, load_label_set

if TYPE_CHECKING:
    from lmteach.search.protocol import Ids, Searcher, Vectors
    from lmteach.serving.about import About

_BLOCK = 1 << 24  # scores held at a time: 64 MB


class NumpySearch:
    """Exact search by numpy alone, over vectors that stay memory-mapped; of equal scores the lower id comes first."""

    is_exact = True

    def __init__(self, vectors_lD: Vectors) -> None:
        self.vectors_lD = vectors_lD

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        """Return (ids_qk, scores_qk), best first, min(k, l) columns."""
        n_labels = len(self.vectors_lD)
        k = min(k, n_labels)
        ids_qk = np.empty((len(queries_qD), k), dtype=np.int64)
        scores_qk = np.empty((len(queries_qD), k), dtype=np.float32)
        rows = max(1, _BLOCK // max(1, n_labels))
        for start in range(0, len(queries_qD), rows):
            scores_ql = queries_qD[start : start + rows] @ self.vectors_lD.T
            ids = _best(scores_ql, k)
            ids_qk[start : start + rows] = ids
            scores_qk[start : start + rows] = np.take_along_axis(scores_ql, ids, 1)
        return ids_qk, scores_qk


def _best(scores_ql: Vectors, k: int) -> Ids:
    """Return each row's k best columns, best first."""
    n_labels = scores_ql.shape[1]
    if k < n_labels:
        found = np.argpartition(-scores_ql, k - 1, axis=1)[:, :k]
    else:
        found = np.broadcast_to(np.arange(n_labels), scores_ql.shape)
    found = np.sort(found, axis=1)
    order = np.argsort(-np.take_along_axis(scores_ql, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, order, 1).astype(np.int64)


def load_search(folder: Path, about: About, backend: str) -> tuple[list[str], Any]:
    """Return the names of a student's labels and a search over them.

    Args:
        backend: `onnx` searches without torch.
    """
    labels = load_label_set(folder)
    if backend == "onnx":
        return labels.names, NumpySearch(labels.vectors_lD)
    return labels.names, build_search(labels, dict(about.searcher))


def build_search(labels: LabelVectors, searcher: dict[str, Any]) -> Searcher:
    """Return the recipe's searcher over a label set: its saved index where there is one, else built now."""
    from lmteach import registry

    built: Searcher = registry.build("searcher", searcher)
    if labels.index is not None:
        built.load(labels.index)
    else:
        built.build(labels.vectors_lD)
    return built
