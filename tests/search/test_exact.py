"""Exact search against brute force in float64: ties, duplicates, every precision, every block size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmteach.errors import LmteachError
from lmteach.search import exact
from lmteach.search.exact import ExactIndex

# Twelve bits: bf16 must round them, while float64 sums of their products are exact, so equality is fair.
grid = st.integers(-3000, 3000).map(lambda i: i / 1024)
coarse = st.integers(-2, 2).map(float)  # few values: many ties


def by_brute_force(labels, queries, k):
    """The k best of each query by sorting all float64 scores, the lower id first among equals."""
    scores = (queries.astype(np.float64) @ labels.astype(np.float64).T).astype(np.float32)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(scores, ids, axis=1)


@st.composite
def problems(draw):
    dim = draw(st.integers(1, 5))
    n_labels, n_queries = draw(st.integers(1, 60)), draw(st.integers(0, 7))
    value = draw(st.sampled_from([grid, coarse]))
    labels = draw(arrays(np.float32, (n_labels, dim), elements=value))
    if draw(st.booleans()):  # the same label many times
        labels = labels[draw(arrays(np.int64, n_labels, elements=st.integers(0, max(0, n_labels // 8))))]
    return labels, draw(arrays(np.float32, (n_queries, dim), elements=value)), draw(st.integers(1, 70))


@given(
    problems(), st.sampled_from(["fp32", "bf16"]), st.integers(1, 4), st.integers(1, 70), st.integers(1, 40)
)
def test_equals_brute_force(problem, precision, query_rows, label_rows, rescored):
    labels, queries, k = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_QUERY_ROWS", query_rows)
        patch.setattr(exact, "_LABEL_ROWS", label_rows)
        patch.setattr(exact, "_RESCORE_ELEMENTS", rescored)
        ids, scores = ExactIndex(labels, precision=precision).search(queries, k)
    expected_ids, expected_scores = by_brute_force(labels, queries, k)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_equals_brute_force_on_many_labels(precision, k):
    rng = np.random.default_rng(0)
    labels = rng.standard_normal((20_000, 48)).astype(np.float32)
    labels[1::2] = labels[::2] + 1e-4 * rng.standard_normal((10_000, 48)).astype(np.float32)  # bf16 twins
    labels[7000:7020] = labels[3]
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    queries = labels[::701] + 0.02 * rng.standard_normal((29, 48)).astype(np.float32)
    queries[0] = labels[3]
    index = ExactIndex(labels, precision=precision)
    ids, scores = index.search(queries, k)
    expected_ids, expected_scores = by_brute_force(labels, queries, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-7)


def test_the_first_pass_alone_would_be_wrong():
    # Labels that bf16 cannot tell apart: without the proof and the wide search the best one is lost.
    labels = np.stack([np.full(400, 1.0), np.linspace(0, 1e-3, 400)], axis=1).astype(np.float32)
    index = ExactIndex(labels, precision="bf16")
    ids, _ = index.search(np.array([[1.0, 1.0]], dtype=np.float32), 3)
    assert ids.tolist() == [[399, 398, 397]]
    assert index.n_proof_failures == 1
    kept = index._first_pass(torch.tensor([[1.0, 1.0]], dtype=torch.bfloat16), 3).ids_qc
    assert 399 not in kept.tolist()[0]


def test_a_coarse_matmul_setting_does_not_matter_and_is_kept():
    rng = np.random.default_rng(1)
    base = rng.standard_normal(64)
    labels = (base + 1e-4 * rng.standard_normal((5000, 64))).astype(np.float32)
    queries = (base + rng.standard_normal((50, 64))).astype(np.float32)
    try:
        torch.set_float32_matmul_precision("medium")
        ids, _ = ExactIndex(labels, precision="fp32").search(queries, 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(ids, by_brute_force(labels, queries, 5)[0])


def test_results_do_not_depend_on_the_batch():
    rng = np.random.default_rng(2)
    labels = rng.standard_normal((3000, 33)).astype(np.float32)
    queries = rng.standard_normal((40, 33)).astype(np.float32)
    index = ExactIndex(labels)
    ids, scores = index.search(queries, 7)
    for i in range(40):
        one_ids, one_scores = index.search(queries[i : i + 1], 7)
        np.testing.assert_array_equal(one_ids[0], ids[i])
        np.testing.assert_array_equal(one_scores[0], scores[i])


def test_memory_is_not_quadratic():
    # 4,000 queries x 50,000 labels would be 800 MB of scores in fp32.
    import resource

    labels = np.random.default_rng(0).standard_normal((50_000, 8)).astype(np.float32)
    index = ExactIndex(labels, precision="fp32")
    index.search(labels[:1], 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index.search(labels[:4000], 5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((0, 3)), "no label vectors"),
        (np.zeros((3, 0)), "no label vectors"),
        (np.zeros(3), "1 dimensions"),
        (np.array([[0.0], [np.nan]]), "Row 1 of the label vectors"),
        (np.array([[np.inf], [0.0]]), "Row 0 of the label vectors"),
        (np.array([[1e30]]), "1e\\+15"),
        (np.array([["a"]]), "real numbers"),
    ],
)
def test_bad_labels_are_named(vectors, message):
    with pytest.raises(LmteachError, match=message):
        ExactIndex(vectors)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.zeros((1, 3)), 1, "3 wide, but the label vectors 2"),
        (np.zeros(2), 1, "1 dimensions"),
        (np.array([[0, np.nan]]), 1, "Row 0 of the query vectors"),
        (np.zeros((1, 2)), 0, "k must be 1"),
    ],
)
def test_bad_queries_are_named(queries, k, message):
    with pytest.raises(LmteachError, match=message):
        ExactIndex(np.ones((4, 2))).search(queries, k)
