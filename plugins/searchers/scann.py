"""Google's ScaNN (Guo et al. 2020): approximate search by a tree of leaves, for some 10^5 labels and more.

Its own traps are closed here: it refuses fewer points than leaves, gives back fewer columns or rows padded
with id 0 and NaN without a word, refuses an empty batch, and writes absolute paths unless told not to.

Shape legend: l labels, q queries, D dimensions, k results a query.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmteach.errors import PluginError, RunError, missing_package
from lmteach.search.choose import recall_at_k
from lmteach.search.protocol import Ids, Vectors
from lmteach.search.vectors import checked_labels, checked_queries, not_built
from lmteach.tracking.run_folder import read_json, write_json, write_whole

log = logging.getLogger(__name__)

_SMALLEST_TREE = 1000  # labels; fewer are searched whole, which is exact and quick
_LEAST_REORDER = 40
_PARALLEL_FROM = 256  # queries; a smaller batch is not worth the threads
_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Depth:
    """How far a search goes: `leaves` searched, `reorder` candidates scored anew in fp32; what that recalls.

    `n_queries` are the queries it was measured on; label vectors stood in for the rest of the sample.
    """

    leaves: int
    reorder: int
    recall: float
    n_queries: int


class ScannSearcher:
    """A ScaNN tree with anisotropic product quantisation and fp32 reordering.

    Two builds over the same vectors agree on about 92% of their results, so build once and share what was
    found. It does not pickle: use `save` and `load`.
    """

    @dataclass
    class Config:
        """Each None is chosen from the data.

        `leaves`: parts of the tree; None = sqrt(labels). `leaves_to_search` and `reorder`: None = the
        least that reaches `recall` against exact search on `sample` of the first queries, found anew for
        each k. `threshold` and `avq`: of the anisotropic quantisation of labels and of leaf centres (on
        131,072 real labels `avq` searches a quarter fewer leaves for the same recall). `block`: dimensions
        a quantised block.
        `training_sample`: label vectors that tree and quantiser are trained on. `threads`: 0 = all cores.
        """

        leaves: int | None = None
        leaves_to_search: int | None = None
        reorder: int | None = None
        recall: float = 0.95
        sample: int = 400
        threshold: float = 0.2
        avq: float | None = 2.5
        block: int = 2
        training_sample: int = 100_000
        threads: int = 0

    def __init__(self, config: Config) -> None:
        self.config = config
        self._index: Any = None
        self._vectors_lD: Vectors | None = None
        self._n_leaves = 0  # 0: no tree
        self._depths: dict[int, Depth] = {}

    def build(self, vectors_lD: Vectors) -> None:
        scann = _import_scann()
        vectors_lD = checked_labels(vectors_lD)
        n_labels = len(vectors_lD)
        builder = scann.builder(vectors_lD, min(10, n_labels), "dot_product")
        n_leaves = 0
        if n_labels < _SMALLEST_TREE:
            builder = builder.score_brute_force()
        else:
            n_leaves = min(self.config.leaves or round(math.sqrt(n_labels)), n_labels)
            sample = min(self.config.training_sample, n_labels)
            builder = (
                builder.tree(
                    n_leaves,
                    max(1, n_leaves // 10),
                    training_sample_size=max(sample, n_leaves),
                    avq=self.config.avq,
                )
                .score_ah(
                    self.config.block,
                    anisotropic_quantization_threshold=self.config.threshold,
                    training_sample_size=sample,
                )
                .reorder(20)
            )
        try:
            self._index = builder.set_n_training_threads(self.config.threads).build()
        except RuntimeError as error:
            raise PluginError(
                f"ScaNN cannot index {n_labels} labels: {error}.", mend="Use search.searcher.name=exact."
            ) from error
        self._keep(vectors_lD, n_leaves)

    def search(self, queries_qD: Vectors, k: int) -> tuple[Ids, Vectors]:
        if self._index is None or self._vectors_lD is None:
            raise not_built("scann")
        n_labels, dim = self._vectors_lD.shape
        queries_qD = checked_queries(queries_qD, dim, k)
        k = min(k, n_labels)
        if not len(queries_qD):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        return self._search(queries_qD, k, self._depth(queries_qD, k))

    def save(self, folder: Path) -> None:
        if self._index is None:
            raise not_built("scann")
        try:
            write_whole(folder, self._write)
        except (OSError, RuntimeError) as error:
            raise RunError(f"The ScaNN index cannot be written: {error}.", where=str(folder)) from error

    def load(self, folder: Path) -> None:
        scann = _import_scann()
        try:
            settings = read_json(folder / _SETTINGS)
            vectors_lD = np.load(folder / "dataset.npy", mmap_mode="r", allow_pickle=False)
            self._index = scann.load_searcher(str(folder), assets_backcompat_shim=False)
            self._keep(vectors_lD, settings["n_leaves"])
            self._depths = {int(k): Depth(**depth) for k, depth in settings["depths"].items()}
        except FileNotFoundError as error:
            raise RunError("There is no ScaNN index here.", where=str(folder)) from error
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise RunError(f"The ScaNN index cannot be read: {error}.", where=str(folder)) from error

    def __reduce__(self) -> Any:
        raise PluginError(
            "A ScaNN index cannot be pickled.", mend="Write it with `save`, read it with `load`."
        )

    def depth(self, k: int) -> Depth | None:
        """Return how far searches for k labels go; None before the first and where nothing was measured."""
        return self._depths.get(k)

    def _keep(self, vectors_lD: Vectors, n_leaves: int) -> None:
        self._vectors_lD, self._n_leaves, self._depths = vectors_lD, n_leaves, {}
        if self.config.threads:
            self._index.set_num_threads(self.config.threads)

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._index.serialize(str(folder), relative_path=True)
        if not (folder / "dataset.npy").is_file():
            np.save(folder / "dataset.npy", np.asarray(self._vectors_lD))
        depths = {str(k): asdict(depth) for k, depth in self._depths.items()}
        write_json(folder / _SETTINGS, {"n_leaves": self._n_leaves, "depths": depths})

    def _search(self, queries_qD: Vectors, k: int, depth: Depth) -> tuple[Ids, Vectors]:
        search = self._index.search_batched
        if len(queries_qD) >= _PARALLEL_FROM:
            search = self._index.search_batched_parallel
        options = {"leaves_to_search": depth.leaves, "pre_reorder_num_neighbors": depth.reorder}
        try:
            found_ids, found_scores = search(
                queries_qD, final_num_neighbors=k, **(options if self._n_leaves else {})
            )
        except RuntimeError as error:
            raise PluginError(f"ScaNN failed: {error}.", mend="Use search.searcher.name=exact.") from error
        return _without_phantoms(found_ids, found_scores, k)

    def _depth(self, queries_qD: Vectors, k: int) -> Depth:
        reorder = self.config.reorder or max(4 * k, _LEAST_REORDER)
        if not self._n_leaves:
            return Depth(0, 0, 1.0, 0)
        if self.config.leaves_to_search is not None:
            return Depth(min(self.config.leaves_to_search, self._n_leaves), max(reorder, k), float("nan"), 0)
        known = self._depths.get(k)
        if known is None or known.n_queries < min(self.config.sample // 4, len(queries_qD)):
            self._depths[k] = self._find_depth(queries_qD, k)
        return self._depths[k]

    def _find_depth(self, queries_qD: Vectors, k: int) -> Depth:
        """Return the least depth that reaches the wanted recall on a sample, or the greatest tried."""
        sample_qD, n_real = self._sample(queries_qD)
        exact_ids = self._exact_ids(sample_qD, k)
        least = max(4 * k, _LEAST_REORDER)  # scoring a few more anew costs little and finds much
        reorders = [max(self.config.reorder, k)] if self.config.reorder else [least, 4 * least]
        best = Depth(self._n_leaves, reorders[-1], -1.0, n_real)
        for reorder in reorders:
            for leaves in _ladder(self._n_leaves):
                depth = Depth(leaves, reorder, 0.0, n_real)
                recall = recall_at_k(self._search(sample_qD, k, depth)[0], exact_ids)
                if recall > best.recall:
                    best = Depth(leaves, reorder, recall, n_real)
                if recall >= self.config.recall:
                    break
            if best.recall >= self.config.recall:
                break
        log.log(
            logging.INFO if best.recall >= self.config.recall else logging.WARNING,
            "ScaNN: recall@%d %.3f (%.3f wanted) on %d queries and %d labels: %d of %d leaves, reorder %d",
            *(k, best.recall, self.config.recall, n_real, len(sample_qD) - n_real),
            *(best.leaves, self._n_leaves, best.reorder),
        )
        return best

    def _sample(self, queries_qD: Vectors) -> tuple[Vectors, int]:
        """Return `sample` queries spread over the batch; label vectors stand in where there are too few."""
        assert self._vectors_lD is not None
        n_real = min(self.config.sample, len(queries_qD))
        real = queries_qD[np.linspace(0, len(queries_qD) - 1, n_real).astype(int)]
        if n_real >= self.config.sample // 4:
            return real, n_real
        rows = np.linspace(0, len(self._vectors_lD) - 1, self.config.sample - n_real).astype(int)
        return np.concatenate([real, self._vectors_lD[rows]]), n_real

    def _exact_ids(self, queries_qD: Vectors, k: int) -> Ids:
        from lmteach.search.exact import ExactIndex

        assert self._vectors_lD is not None
        return ExactIndex(np.asarray(self._vectors_lD), precision="fp32").search(queries_qD, k)[0]


def _without_phantoms(found_ids: Any, found_scores: Any, k: int) -> tuple[Ids, Vectors]:
    """Return exactly k columns, best first, in which a place that ScaNN did not fill holds -1 and -inf."""
    n = min(k, found_ids.shape[1])
    ids = np.full((len(found_ids), k), -1, dtype=np.int64)
    scores = np.full((len(found_ids), k), -np.inf, dtype=np.float32)
    ids[:, :n], scores[:, :n] = found_ids[:, :n], found_scores[:, :n]
    empty = ~np.isfinite(scores)
    ids[empty], scores[empty] = -1, -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def _ladder(n_leaves: int) -> list[int]:
    """Return growing numbers of leaves to try, from about 1% to all."""
    steps, leaves = [], max(1.0, n_leaves / 100)
    while leaves < n_leaves:
        steps.append(round(leaves))
        leaves = max(leaves * 1.4, leaves + 1)
    return [*steps, n_leaves]


def _import_scann() -> Any:
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        missing = missing_package("scann", needed_by="The searcher 'scann'", command="pip install scann")
        missing.mend = (
            "pip install scann (wheels: Linux on x86_64 and aarch64, CPython up to 3.13); "
            "elsewhere use search.searcher.name=exact."
        )
        raise missing from error
    return scann_ops_pybind
