"""The `mine` searcher: all products, and a partial sort. Right for any label set, quick for a small one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmteach.errors import RecipeError, RunError
from lmteach.search.protocol import Ids, Vectors
from lmteach.search.vectors import checked_labels, checked_queries, not_built


class MineSearcher:
    """Maximum inner product search. Shape legend: l labels, q queries, D dimensions, k results a query."""

    @dataclass
    class Config:
        """Keys of `search.searcher:` with `name: mine`.

        Attributes:
            block: queries at a time; block x labels products are held.
        """

        block: int = 256

    def __init__(self, config: Config) -> None:
        if config.block < 1:
            raise RecipeError(f"It is {config.block}; it must be 1 or more.", where="search.searcher.block")
        self.config = config
        self._vectors_lD: Vectors | None = None

    def build(self, vectors_lD: Vectors) -> None:
        """Index the label vectors; row number = label id."""
        self._vectors_lD = checked_labels(vectors_lD)

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        """Return (ids_qk, scores_qk), best first."""
        labels_lD = self._labels()
        queries_qD = checked_queries(queries_qD, labels_lD.shape[1], k)
        k = min(k, len(labels_lD))
        ids_qk = np.empty((len(queries_qD), k), np.int64)
        scores_qk = np.empty((len(queries_qD), k), np.float32)
        for start in range(0, len(queries_qD), self.config.block):
            rows = slice(start, start + self.config.block)
            products_bl = queries_qD[rows] @ labels_lD.T
            best_bk = np.argpartition(-products_bl, k - 1, axis=1)[:, :k]
            found_bk = np.take_along_axis(products_bl, best_bk, axis=1)
            order_bk = np.argsort(-found_bk, axis=1, kind="stable")
            ids_qk[rows] = np.take_along_axis(best_bk, order_bk, axis=1)
            scores_qk[rows] = np.take_along_axis(found_bk, order_bk, axis=1)
        return ids_qk, scores_qk

    def save(self, folder: Path) -> None:
        """Write the index."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", self._labels())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, memory-mapped."""
        try:
            self.build(np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False))
        except OSError as error:
            raise RunError("There is no index of `mine` here.", where=str(folder)) from error

    def _labels(self) -> Vectors:
        if self._vectors_lD is None:
            raise not_built("mine")
        return self._vectors_lD
