"""Exact search and ScaNN side by side with what else one would use: numpy, torch, faiss where installed.

    python benchmarks/search.py                                   # 13,000 and 131,000 made-up labels
    python benchmarks/search.py --labels L.npy --queries Q.npy    # vectors of your own

Made-up labels lie in clusters, as embeddings do; recall on real embeddings differs, so prefer your own.
A rate is the best of three passes, recall is against brute force in float64, break-even counts the build.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lmteach import registry
from lmteach.errors import PluginError
from lmteach.search.choose import recall_at_k

Search = Callable[[], np.ndarray]


@dataclass
class Row:
    """One method on one set of labels."""

    name: str
    build_seconds: float
    per_second: float
    recall: float


def main() -> None:
    arguments = _arguments()
    print(f"{torch.get_num_threads()} threads, k = {arguments.k}")
    if arguments.labels:
        labels, queries = (_normalised(np.load(f)) for f in (arguments.labels, arguments.queries))
        sets = [(labels, queries)]
    else:
        sets = [_made_up(n, arguments.n_queries, arguments.dim) for n in arguments.n_labels]
    for labels, queries in sets:
        _compare(labels, queries, arguments.k, arguments.recall)


def _compare(labels: np.ndarray, queries: np.ndarray, k: int, recall: float) -> None:
    print(f"\n{len(labels):,} labels, {len(queries):,} queries, {labels.shape[1]}-d")
    truth = _by_float64(labels, queries[:500], k)
    rows = [
        _measure("numpy, argpartition", truth, lambda: None, lambda _: _by_numpy(labels, queries, k)),
        _measure("torch, matmul + topk", truth, lambda: None, lambda _: _by_torch(labels, queries, k)),
    ]
    for name, section in {
        "exact, fp32": {"name": "exact", "precision": "fp32", "device": "cpu"},
        "exact, bf16": {"name": "exact", "precision": "bf16", "device": "cpu"},
        "scann": {"name": "scann", "recall": recall},
    }.items():
        try:
            rows.append(_measure(name, truth, lambda s=section: _built(s, labels, queries, k),
                                 lambda searcher: searcher.search(queries, k)[0]))  # fmt: skip
        except PluginError as error:
            print(f"  {name}: {error}")
    rows += _faiss(labels, queries, k, truth)
    best_exact = max(r.per_second for r in rows if r.name.startswith("exact"))
    print(f"  {'':22}{'build s':>9}{'queries/s':>11}{'x numpy':>9}{'recall':>8}{'break-even':>14}")
    for row in rows:
        saved = 1 / best_exact - 1 / row.per_second
        even = f"{row.build_seconds / saved:,.0f}" if row.build_seconds > 0.5 and saved > 0 else ""
        print(
            f"  {row.name:22}{row.build_seconds:9.1f}{row.per_second:11,.0f}"
            f"{row.per_second / rows[0].per_second:9.1f}{row.recall:8.3f}{even:>14}"
        )


def _measure(name: str, truth: np.ndarray, build: Callable[[], object], search: Callable) -> Row:
    start = time.perf_counter()
    index = build()
    build_seconds = time.perf_counter() - start
    ids, seconds = search(index), []
    for _ in range(3):
        start = time.perf_counter()
        search(index)
        seconds.append(time.perf_counter() - start)
    return Row(name, build_seconds, len(ids) / min(seconds), recall_at_k(ids[: len(truth)], truth))


def _built(section: dict, labels: np.ndarray, queries: np.ndarray, k: int) -> object:
    searcher = registry.build("searcher", section)
    searcher.build(labels)
    searcher.search(queries[:200], k)  # ScaNN finds its depth here; that belongs to the build
    return searcher


def _faiss(labels: np.ndarray, queries: np.ndarray, k: int, truth: np.ndarray) -> list[Row]:
    try:
        import faiss
    except ImportError:
        print("  faiss: not installed (pip install faiss-cpu)")
        return []

    def build() -> object:
        index = faiss.IndexFlatIP(labels.shape[1])
        index.add(labels)
        return index

    return [_measure("faiss, IndexFlatIP", truth, build, lambda index: index.search(queries, k)[1])]


def _by_numpy(labels: np.ndarray, queries: np.ndarray, k: int, rows: int = 256) -> np.ndarray:
    ids = []
    for start in range(0, len(queries), rows):
        scores = queries[start : start + rows] @ labels.T
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        ids.append(np.take_along_axis(best, order, 1))
    return np.concatenate(ids)


def _by_torch(labels: np.ndarray, queries: np.ndarray, k: int, rows: int = 256) -> np.ndarray:
    labels_lD, queries_qD = torch.from_numpy(labels), torch.from_numpy(queries)
    return torch.cat([(block @ labels_lD.T).topk(k).indices for block in queries_qD.split(rows)]).numpy()


def _by_float64(labels: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    wide = labels.T.astype(np.float64)
    return np.concatenate(
        [np.argsort(-(q.astype(np.float64) @ wide), axis=1)[:, :k] for q in np.array_split(queries, 10)]
    )


def _made_up(n_labels: int, n_queries: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((int(n_labels**0.5), dim))
    labels = centres[rng.integers(0, len(centres), n_labels)] + rng.standard_normal((n_labels, dim))
    queries = labels[rng.integers(0, n_labels, n_queries)] + rng.standard_normal((n_queries, dim))
    return _normalised(labels), _normalised(queries)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", help="npy file of label vectors")
    parser.add_argument("--queries", help="npy file of query vectors")
    parser.add_argument("--n-labels", type=int, nargs="+", default=[13_000, 131_000])
    parser.add_argument("--n-queries", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--recall", type=float, default=0.95)
    return parser.parse_args()


if __name__ == "__main__":
    main()
