"""Shortlists: what is kept, the file, and what can go wrong."""

import os

import numpy as np
import pytest

from lmteach import registry
from lmteach.errors import LmteachError, RecipeError, RunError
from lmteach.search import shortlist
from lmteach.search.shortlist import Shortlist, make_shortlist


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    made = rng.standard_normal((90, 16)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made[:40], made[40:]


def built(labels, name="exact"):
    searcher = registry.build("searcher", {"name": name})
    searcher.build(labels)
    return searcher


class Gappy:
    """A searcher that finds nothing in some places; it records what it is asked."""

    def __init__(self):
        self.asked = []

    def search(self, queries, k):
        self.asked.append((len(queries), k))
        ids = np.tile(np.array([5, -1, 7, -1, 9][:k], dtype=np.int64), (len(queries), 1))
        scores = np.tile(np.array([0.9, 0.8, 0.7, np.nan, 0.5][:k], dtype=np.float32), (len(queries), 1))
        return ids, scores


@pytest.mark.parametrize("chunk", [1, 30, 1 << 23])
def test_the_best_labels_of_each_document(vectors, monkeypatch, chunk):
    monkeypatch.setattr(shortlist, "_CHUNK", chunk)
    labels, documents = vectors
    positions = np.arange(50)[::-1] * 3
    done = []
    made = make_shortlist(positions, documents, built(labels), n_retrieved=20, n_kept=6, advance=done.append)
    scores = documents @ labels.T
    np.testing.assert_array_equal(made.label_ids_qk, np.argsort(-scores, axis=1)[:, :6])
    np.testing.assert_allclose(made.scores_qk, -np.sort(-scores, axis=1)[:, :6], atol=1e-6)
    np.testing.assert_array_equal(made.positions_q, positions)
    assert (made.label_ids_qk.dtype, made.scores_qk.dtype, len(made)) == (np.int32, np.float32, 50)
    assert sum(done) == 50


def test_empty_places_move_to_the_end(vectors):
    searcher = Gappy()
    made = make_shortlist(np.arange(2), vectors[1][:2], searcher, n_retrieved=5, n_kept=4)
    assert searcher.asked == [(2, 5)]
    assert made.label_ids_qk.tolist() == [[5, 7, 9, -1]] * 2
    assert made.scores_qk[0].tolist() == pytest.approx([0.9, 0.7, 0.5, -np.inf])
    ids, scores = made.of(1)
    assert ids.tolist() == [5, 7, 9]
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert made.of(0, 2)[0].tolist() == [5, 7]


def test_a_small_label_set_clips(vectors):
    labels, documents = vectors
    made = make_shortlist(np.arange(50), documents, built(labels[:3]), n_retrieved=300, n_kept=30)
    assert made.label_ids_qk.shape == (50, 3)
    made = make_shortlist(np.arange(50), documents, built(labels[:1]))
    assert made.label_ids_qk.tolist() == [[0]] * 50


def test_no_documents(vectors):
    made = make_shortlist(np.arange(0), vectors[1][:0], built(vectors[0]), n_retrieved=9, n_kept=4)
    assert made.label_ids_qk.shape == (0, 4)


def test_what_does_not_fit_is_named(vectors):
    labels, documents = vectors
    with pytest.raises(LmteachError, match="49 positions"):
        make_shortlist(np.arange(49), documents, built(labels))
    with pytest.raises(RecipeError, match=r"search.n_kept"):
        make_shortlist(np.arange(50), documents, built(labels), n_retrieved=5, n_kept=6)
    with pytest.raises(LmteachError, match="do not match"):
        Shortlist(np.arange(2), np.zeros((2, 3), np.int32), np.zeros((2, 2), np.float32))
    with pytest.raises(LmteachError, match="positions"):
        Shortlist(np.arange(3), np.zeros((2, 3), np.int32), np.zeros((2, 3), np.float32))


def test_the_file_gives_back_the_same(vectors, tmp_path):
    labels, documents = vectors
    made = make_shortlist(np.arange(50), documents, built(labels), n_retrieved=8, n_kept=8)
    made.save(tmp_path / "shortlist.npz")
    again = Shortlist.load(tmp_path / "shortlist.npz")
    for name in ("positions_q", "label_ids_qk", "scores_qk"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
        assert getattr(again, name).dtype == getattr(made, name).dtype
    assert os.listdir(tmp_path) == ["shortlist.npz"]


def test_a_failed_write_leaves_the_old_file(vectors, tmp_path, monkeypatch):
    labels, documents = vectors
    old = make_shortlist(np.arange(50), documents, built(labels), n_retrieved=8, n_kept=8)
    old.save(tmp_path / "s.npz")

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shortlist.np, "savez", full)
    with pytest.raises(RunError, match="No space left"):
        make_shortlist(np.arange(9), documents[:9], built(labels)).save(tmp_path / "s.npz")
    assert len(Shortlist.load(tmp_path / "s.npz")) == 50
    assert os.listdir(tmp_path) == ["s.npz"]


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_file_is_named(vectors, tmp_path, content):
    path = tmp_path / "s.npz"
    make_shortlist(np.arange(50), vectors[1], built(vectors[0])).save(path)
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(RunError, match=r"s\.npz: This shortlist cannot be read"):
        Shortlist.load(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(RunError, match="This shortlist cannot be read"):
        Shortlist.load(path)
    with pytest.raises(RunError, match="no shortlist"):
        Shortlist.load(tmp_path / "missing.npz")
