"""The contract of every announced searcher, and what is particular to ScaNN and auto."""

import logging
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.errors import LmteachError, PluginError, RecipeError, RunError
from lmteach.search import choose, exact
from lmteach.search.choose import recall_at_k
from lmteach.search.protocol import Searcher

NAMES = [entry.name for entry in registry.entries("searcher")]
every_searcher = pytest.mark.parametrize("name", NAMES)


def new(name, **options):
    if name == "scann":
        pytest.importorskip("scann", reason="scann has no wheels here")
    return registry.build("searcher", {"name": name, **options})


def unit(n, dim=24, seed=0, clusters=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim))
    if clusters:
        vectors += 2 * np.random.default_rng(1).standard_normal((clusters, dim))[rng.integers(0, clusters, n)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def by_brute_force(labels, queries, k):
    scores = queries.astype(np.float64) @ labels.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def assert_contract(labels, queries, k, ids, scores):
    """What holds for any searcher: shapes, types, order, no phantom, no double, true scores."""
    assert ids.shape == scores.shape == (len(queries), min(k, len(labels)))
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.max(initial=0) < len(labels)
    assert ids.min(initial=0) >= -1
    np.testing.assert_array_equal(ids == -1, np.isneginf(scores))
    assert not np.isnan(scores).any()
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    truth = queries.astype(np.float64) @ labels.astype(np.float64).T
    for row, (row_ids, row_scores) in enumerate(zip(ids, scores, strict=True)):
        real = row_ids >= 0
        assert len(set(row_ids[real])) == real.sum()
        np.testing.assert_allclose(row_scores[real], truth[row, row_ids[real]], atol=1e-5)


def test_all_three_are_announced():
    assert {"exact", "scann", "auto"} <= set(NAMES)


@every_searcher
def test_is_a_searcher_with_strict_keys(name):
    assert isinstance(new(name), Searcher)
    with pytest.raises(RecipeError, match="no key 'nonsense'"):
        new(name, nonsense=1)


@every_searcher
@given(
    n_labels=st.integers(1, 60),
    n_queries=st.integers(0, 5),
    k=st.integers(1, 80),
    copies=st.integers(1, 60),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_small_label_sets(name, n_labels, n_queries, k, copies, seed):
    labels = unit(n_labels, 6, seed)[np.arange(n_labels) % copies]
    queries = unit(n_queries, 6, seed + 100)
    searcher = new(name)
    searcher.build(labels)
    ids, scores = searcher.search(queries, k)
    assert_contract(labels, queries, k, ids, scores)
    assert (ids >= 0).all()  # so few labels are searched whole


@every_searcher
@pytest.mark.parametrize("k", [1, 10, 300])
def test_a_tree_sized_label_set(name, k):
    labels, queries = unit(3000, clusters=40), unit(300, seed=7, clusters=40)
    searcher = new(name)
    searcher.build(labels)
    ids, scores = searcher.search(queries, k)
    assert_contract(labels, queries, k, ids, scores)
    assert recall_at_k(ids, by_brute_force(labels, queries, k)) > 0.92


@every_searcher
def test_identical_labels_by_the_thousand(name):
    labels = np.repeat(unit(2), 1000, axis=0)
    searcher = new(name)
    searcher.build(labels)
    ids, scores = searcher.search(unit(3, seed=5), 10)
    assert_contract(labels, unit(3, seed=5), 10, ids, scores)


@every_searcher
def test_an_index_moves_to_another_place_and_process(name, tmp_path):
    labels, queries = unit(2000, clusters=30), unit(20, seed=7, clusters=30)
    searcher = new(name)
    searcher.build(labels)
    expected = searcher.search(queries, 7)
    searcher.save(tmp_path / "here" / "index")
    searcher.save(tmp_path / "here" / "index")  # over itself
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "here" / "index", tmp_path / "there" / "index")
    np.save(tmp_path / "queries.npy", queries)
    program = (
        "import sys, numpy as np; from pathlib import Path; from lmteach import registry\n"
        f"folder = Path({str(tmp_path)!r}); s = registry.build('searcher', {{'name': {name!r}}})\n"
        "s.load(folder / 'there' / 'index')\n"
        "ids, scores = s.search(np.load(folder / 'queries.npy'), 7)\n"
        "np.savez(folder / 'found.npz', ids=ids, scores=scores)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["ids"], expected[0])
    np.testing.assert_array_equal(found["scores"], expected[1])


@every_searcher
def test_a_folder_that_cannot_be_written_is_named(name, tmp_path):
    (tmp_path / "file").write_text("in the way")
    searcher = new(name)
    searcher.build(unit(30))
    with pytest.raises(RunError, match="cannot be written"):
        searcher.save(tmp_path / "file" / "index")


@every_searcher
def test_misuse_is_named(name, tmp_path):
    searcher = new(name)
    with pytest.raises(LmteachError, match="holds no labels"):
        searcher.search(unit(1), 1)
    with pytest.raises(LmteachError, match="holds no labels"):
        searcher.save(tmp_path)
    with pytest.raises(RunError, match=r"no .*index"):
        searcher.load(tmp_path / "nowhere")
    for vectors, message in [
        (np.zeros((0, 4), np.float32), "no label vectors"),
        (np.zeros(4, np.float32), "dimensions"),
        (np.full((2, 2), np.nan, np.float32), "Row 0"),
    ]:
        with pytest.raises(LmteachError, match=message):
            searcher.build(vectors)
    searcher.build(unit(5, 4))
    for queries, k, message in [
        (unit(1, 5), 1, "5 wide"),
        (np.full((1, 4), np.nan, np.float32), 1, "Row 0"),
        (unit(1, 4), 0, "k must be"),
    ]:
        with pytest.raises(LmteachError, match=message):
            searcher.search(queries, k)


def test_listing_and_configuring_searchers_imports_nothing_heavy():
    program = (
        "import sys; from lmteach import registry\n"
        f"[registry.build('searcher', {{'name': n}}) for n in {NAMES}]\n"
        "assert not {'torch', 'scann'} & set(sys.modules), set(sys.modules) & {'torch', 'scann'}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class TestExact:
    def test_a_damaged_index_is_named(self, tmp_path):
        (tmp_path / "vectors.npy").write_bytes(b"\x93NUMPY rubbish")
        with pytest.raises(RunError, match="cannot be read"):
            new("exact").load(tmp_path)

    def test_a_loaded_index_is_memory_mapped(self, tmp_path):
        searcher = new("exact")
        searcher.build(unit(50))
        searcher.save(tmp_path)
        again = new("exact")
        again.load(tmp_path)
        base = again.vectors_lD
        while not isinstance(base, np.memmap) and base is not None:
            base = base.base
        assert isinstance(base, np.memmap)


class TestScann:
    def test_too_few_leaves_give_no_phantom_labels(self):
        labels, queries = unit(2000, clusters=50), unit(40, seed=3, clusters=50)
        searcher = new("scann", leaves=200, leaves_to_search=1)
        searcher.build(labels)
        ids, scores = searcher.search(queries, 100)
        assert (ids == -1).any()
        assert_contract(labels, queries, 100, ids, scores)

    def test_the_library_still_pads_with_id_0_and_nan(self):
        # The trap itself: should a new release close it, `_without_phantoms` may go.
        searcher = new("scann", leaves=200, leaves_to_search=1)
        searcher.build(unit(2000, clusters=50))
        ids, scores = searcher._index.search_batched(
            unit(40, seed=3), final_num_neighbors=100, pre_reorder_num_neighbors=200, leaves_to_search=1
        )
        assert np.isnan(scores).any()
        assert (ids[np.isnan(scores)] == 0).all()

    @pytest.mark.parametrize("leaves", [1, 5000])
    def test_more_leaves_than_labels(self, leaves):
        labels, queries = unit(1200), unit(10, seed=3)
        searcher = new("scann", leaves=leaves)
        searcher.build(labels)
        ids, scores = searcher.search(queries, 5)
        assert_contract(labels, queries, 5, ids, scores)

    def test_depth_rises_with_the_recall_wanted(self):
        labels, queries = unit(6000, clusters=60), unit(500, seed=3, clusters=60)
        depths = []
        for recall in (0.5, 0.99):
            searcher = new("scann", recall=recall, sample=300)
            searcher.build(labels)
            ids, _ = searcher.search(queries, 10)
            depths.append(searcher.depth(10))
            assert recall_at_k(ids, by_brute_force(labels, queries, 10)) > recall - 0.04
            assert depths[-1].recall >= recall
        assert depths[0].leaves < depths[1].leaves

    def test_a_few_queries_do_not_settle_the_depth_for_many(self):
        labels, queries = unit(3000, clusters=60), unit(500, seed=3, clusters=60)
        searcher = new("scann")
        searcher.build(labels)
        searcher.search(queries[:1], 10)
        assert searcher.depth(10).n_queries == 1
        searcher.search(queries, 10)
        settled = searcher.depth(10)
        assert settled.n_queries == 400
        searcher.search(queries[:1], 10)
        assert searcher.depth(10) is settled

    def test_unreached_recall_is_a_warning(self, caplog):
        searcher = new("scann", recall=1.01)
        searcher.build(unit(1500))
        with caplog.at_level(logging.INFO, "lmteach_plugins.searchers.scann"):
            searcher.search(unit(20, seed=3), 10)
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert "recall@10" in caplog.text

    def test_pickling_says_what_to_do_instead(self):
        searcher = new("scann")
        searcher.build(unit(30))
        with pytest.raises(PluginError, match="cannot be pickled"):
            pickle.dumps(searcher)

    def test_a_missing_package_names_the_command_and_the_way_out(self, monkeypatch):
        for module in [m for m in sys.modules if m == "scann" or m.startswith("scann.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "scann", None)
        with pytest.raises(PluginError) as raised:
            registry.build("searcher", {"name": "scann"}).build(unit(30))
        assert "pip install scann" in str(raised.value)
        assert "search.searcher.name=exact" in str(raised.value)


class TestAuto:
    @pytest.fixture
    def cheap_scann(self, monkeypatch):
        """ScaNN pays from 100 queries on."""
        pytest.importorskip("scann", reason="scann has no wheels here")
        monkeypatch.setattr(choose, "exact_seconds", lambda n_labels, n_queries, dim: n_queries)
        monkeypatch.setattr(choose, "scann_seconds", lambda n_labels, n_queries, dim: 99 + n_queries / 100)

    def test_few_labels_are_searched_exactly(self, caplog):
        labels, queries = unit(3000), unit(300, seed=3)
        searcher = new("auto")
        with caplog.at_level(logging.INFO, "lmteach_plugins.searchers.auto"):
            searcher.build(labels)
            ids, _ = searcher.search(queries, 10)
            searcher.search(queries, 10)
        np.testing.assert_array_equal(ids, by_brute_force(labels, queries, 10))
        assert [r.message for r in caplog.records] == ["search: exact (3,000 labels are fewer than 20,000)"]

    def test_scann_takes_over_once_the_queries_pay_for_it(self, cheap_scann, caplog):
        labels, queries = unit(2000, clusters=30), unit(60, seed=3, clusters=30)
        searcher = new("auto", exact_below=1000)
        searcher.build(labels)
        with caplog.at_level(logging.INFO, "lmteach_plugins"):
            searcher.search(queries, 10)
            assert searcher.is_exact
            ids, scores = searcher.search(queries, 10)
        assert not searcher.is_exact
        assert_contract(labels, queries, 10, ids, scores)
        texts = [r.message for r in caplog.records]
        assert [t.split(" (")[0] for t in texts[:2]] == ["search: exact", "search: scann"]
        assert "recall@10" in texts[2]

    def test_promised_queries_count_at_once(self, cheap_scann):
        searcher = new("auto", exact_below=1000)
        searcher.build(unit(2000))
        searcher.expect(99)
        assert searcher.is_exact
        searcher.expect(101)
        assert not searcher.is_exact
        searcher = new("auto", exact_below=1000, n_queries=101)
        searcher.build(unit(2000))
        searcher.search(unit(1), 3)
        assert not searcher.is_exact

    def test_only_the_index_that_is_searched_is_built(self, cheap_scann, monkeypatch):
        built, build = [], exact.ExactIndex.__init__

        def counted(index, vectors, **options):
            built.append(len(vectors))
            build(index, vectors, **options)

        searcher = new("auto", exact_below=1000)
        with monkeypatch.context() as patch:
            patch.setattr(exact.ExactIndex, "__init__", counted)
            searcher.build(unit(2000))
            searcher.expect(1000)
            assert not searcher.is_exact
            assert built == []
            searcher = new("auto", exact_below=1000)
            searcher.build(unit(2000))
            searcher.search(unit(1), 3)
            searcher.search(unit(1), 3)
            assert built == [2000]

    def test_a_scann_index_is_saved_and_loaded_as_one(self, cheap_scann, tmp_path):
        labels, queries = unit(2000, clusters=30), unit(300, seed=3, clusters=30)
        searcher = new("auto", exact_below=1000)
        searcher.build(labels)
        searcher.save(tmp_path)
        expected = searcher.search(queries, 5)
        searcher.save(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["scann"]
        again = new("auto", exact_below=1000)
        again.load(tmp_path)
        assert not again.is_exact
        np.testing.assert_array_equal(again.search(queries, 5)[0], expected[0])
        again.build(labels)
        again.save(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["exact"]
