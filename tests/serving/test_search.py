"""The search without torch finds what sorting all scores finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.serving import label_search
from lmteach.serving.label_search import NumpySearch


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 70), st.integers(0, 99), st.booleans())
@settings(max_examples=120, deadline=None)
def test_it_finds_what_sorting_finds(n_labels: int, n_queries: int, k: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-2, 3, (n_labels, 4)) if ties else rng.standard_normal((n_labels, 4))
    queries = rng.integers(-2, 3, (n_queries, 4)).astype(np.float32)
    ids, scores = NumpySearch(labels.astype(np.float32)).search(queries, k)
    every = queries @ labels.astype(np.float32).T
    assert ids.shape == scores.shape == (n_queries, min(k, n_labels))
    assert np.array_equal(scores, np.take_along_axis(every, ids, 1))
    assert np.array_equal(scores, -np.sort(-every, axis=1)[:, :k])
    for row, found in zip(ids, scores, strict=True):
        assert len(set(row.tolist())) == len(row)
        assert all(a < b for a, b, x, y in zip(row, row[1:], found, found[1:], strict=False) if x == y)


def test_many_queries_go_in_blocks(monkeypatch) -> None:
    monkeypatch.setattr(label_search, "_BLOCK", 40)
    rng = np.random.default_rng(0)
    labels, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (20, 50))
    ids, _ = NumpySearch(labels).search(queries, 3)
    assert np.array_equal(ids, np.argsort(-(queries @ labels.T), axis=1, kind="stable")[:, :3])
