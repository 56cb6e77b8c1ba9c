"""The contract suite of searchers. Shape legend: l labels, q queries, D dimensions, k results a query."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lmteach.errors import LmteachError
from lmteach.search.protocol import Ids, Searcher, Vectors


class SearcherContract:
    """What every `Searcher` must do. Override `build_searcher`.

    Attributes:
        least_recall: share of the true nearest labels that must be found among 3,000 clustered ones.
    """

    least_recall: ClassVar[float] = 0.9

    def build(self, **keys: Any) -> Searcher:
        """Return a new searcher without labels, built with these keys of its Config."""
        raise NotImplementedError("a contract suite needs `build`")

    def test_it_is_a_searcher_with_a_config(self) -> None:
        """Recipes find its keys in `Config`, which must be a dataclass."""
        searcher = self.build()
        assert isinstance(searcher, Searcher)
        assert dataclasses.is_dataclass(getattr(type(searcher), "Config", None))

    def test_few_labels_are_all_found(self) -> None:
        """Shapes, types, order and true scores, also where k is more than the labels there are."""
        for n_labels, n_queries, k in ((1, 3, 1), (1, 2, 10), (7, 5, 3), (40, 6, 40), (40, 1, 99), (9, 0, 4)):
            labels_lD, queries_qD = unit(n_labels, 6), unit(n_queries, 6, seed=1)
            searcher = self.build()
            searcher.build(labels_lD)
            ids_qk, scores_qk = searcher.search(queries_qD, k)
            check_found(labels_lD, queries_qD, k, ids_qk, scores_qk)
            assert (ids_qk >= 0).all(), "so few labels must be searched whole"

    def test_many_labels_are_found_mostly(self) -> None:
        """The shortlist is made of what is found: what is missed, the teacher never sees."""
        labels_lD, queries_qD = unit(3000, clusters=40), unit(100, seed=7, clusters=40)
        searcher = self.build()
        searcher.build(labels_lD)
        for k in (1, 10, 100):
            ids_qk, scores_qk = searcher.search(queries_qD, k)
            check_found(labels_lD, queries_qD, k, ids_qk, scores_qk)
            truth_qk = np.argsort(-(queries_qD @ labels_lD.T), axis=1, kind="stable")[:, :k]
            hits = [len(set(a) & set(b)) for a, b in zip(ids_qk.tolist(), truth_qk.tolist(), strict=True)]
            assert sum(hits) >= self.least_recall * truth_qk.size, (
                f"recall@{k} is {sum(hits) / truth_qk.size:.3f}"
            )

    def test_labels_that_are_all_alike(self) -> None:
        """Label sets hold doubles; none may be returned twice or made up."""
        labels_lD, queries_qD = np.repeat(unit(2), 500, axis=0), unit(3, seed=5)
        searcher = self.build()
        searcher.build(labels_lD)
        check_found(labels_lD, queries_qD, 10, *searcher.search(queries_qD, 10))

    def test_building_again_forgets_the_former_labels(self) -> None:
        """A run's next cycle has new label vectors."""
        searcher, second_lD = self.build(), unit(12, seed=3)
        searcher.build(unit(30))
        searcher.search(unit(2, seed=1), 3)
        searcher.build(second_lD)
        ids_qk, scores_qk = searcher.search(second_lD, 5)
        check_found(second_lD, second_lD, 5, ids_qk, scores_qk)
        assert ids_qk[:, 0].tolist() == list(range(12))

    def test_asking_twice_finds_the_same(self) -> None:
        """A search changes nothing."""
        searcher, queries_qD = self.build(), unit(20, seed=7, clusters=40)
        searcher.build(unit(500, clusters=40))
        first, second = searcher.search(queries_qD, 5), searcher.search(queries_qD, 5)
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])

    def test_a_saved_index_finds_the_same_elsewhere(self) -> None:
        """A student is copied to another machine with its index."""
        searcher, queries_qD = self.build(), unit(20, seed=7, clusters=30)
        searcher.build(unit(2000, clusters=30))
        expected = searcher.search(queries_qD, 7)
        with tempfile.TemporaryDirectory() as folder:
            here, there = Path(folder) / "here" / "index", Path(folder) / "there"
            searcher.save(here)
            searcher.save(here)  # over itself
            shutil.move(here, there)
            again = self.build()
            again.load(there)
            found = again.search(queries_qD, 7)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
            del again  # its files may be mapped

    def test_misuse_is_refused(self) -> None:
        """By an error that says so, never by an answer."""
        searcher = self.build()
        with refuses(LmteachError, "a search before `build`"):
            searcher.search(unit(1), 1)
        for what, vectors in (
            ("no labels", np.zeros((0, 4), np.float32)),
            ("one dimension", np.zeros(4, np.float32)),
            ("NaN", np.full((2, 2), np.nan, np.float32)),
        ):
            with refuses(LmteachError, what):
                searcher.build(vectors)
        searcher.build(unit(5, 4))
        with refuses(LmteachError, "queries of another width"):
            searcher.search(unit(1, 5), 1)
        with refuses(LmteachError, "k = 0"):
            searcher.search(unit(1, 4), 0)
        with tempfile.TemporaryDirectory() as folder, refuses(LmteachError, "loading from an empty folder"):
            self.build().load(Path(folder))


@contextlib.contextmanager
def refuses(error: type[Exception], what: str) -> Iterator[None]:
    """Check that the block raises `error`, without pytest; any other exception goes through."""
    try:
        yield
    except error:
        return
    raise AssertionError(f"{what}: not refused by {error.__name__}")


def unit(n: int, dim: int = 24, seed: int = 0, clusters: int = 0) -> Vectors:
    """Return n random unit vectors [n, dim]; around `clusters` centres, the same for every seed, if not 0."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim))
    if clusters:
        centres = np.random.default_rng(1).standard_normal((clusters, dim))
        vectors += 2 * centres[rng.integers(0, clusters, n)]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def check_found(labels_lD: Vectors, queries_qD: Vectors, k: int, ids_qk: Ids, scores_qk: Vectors) -> None:
    """Check what holds for any searcher: shapes, types, order, no phantom, no double, true scores."""
    assert ids_qk.shape == scores_qk.shape == (len(queries_qD), min(k, len(labels_lD)))
    assert ids_qk.dtype == np.int64
    assert scores_qk.dtype == np.float32
    assert ids_qk.min(initial=0) >= -1
    assert ids_qk.max(initial=0) < len(labels_lD)
    np.testing.assert_array_equal(ids_qk == -1, np.isneginf(scores_qk))
    assert not np.isnan(scores_qk).any()
    assert (scores_qk[:, 1:] <= scores_qk[:, :-1]).all(), "not the best first"
    for query_D, ids_k, scores_k in zip(queries_qD, ids_qk, scores_qk, strict=True):
        real = ids_k >= 0
        assert len(set(ids_k[real].tolist())) == real.sum(), "a label twice"
        np.testing.assert_allclose(scores_k[real], labels_lD[ids_k[real]] @ query_D, atol=1e-5)
