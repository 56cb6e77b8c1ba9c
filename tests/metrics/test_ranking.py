"""Ranking metrics against hand-made figures, their definitions spelt out, and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from lmteach.corpus.corpus import Gold
from lmteach.errors import LmteachError
from lmteach.metrics import ranking
from lmteach.metrics.ranking import find_hits, label_counts, propensities, score_ranking


def make_gold(rows):
    indptr = np.cumsum([0] + [len(r) for r in rows]).astype(np.int64)
    return Gold(indptr, np.array([i for r in rows for i in sorted(r)], dtype=np.int64))


def by_definition(predicted, gold_rows, k, propensity):
    """Every metric by the words of its definition, one document and one place at a time."""
    p, r, ndcg, psp, psn = [], [], [], [], []
    for row, gold in zip(predicted, gold_rows, strict=True):
        if not gold:
            continue
        seen, hits = set(), []
        for label in row[:k]:
            hits.append(label in gold and label not in seen)
            seen.add(label)
        dcg = sum(h / math.log2(i + 2) for i, h in enumerate(hits))
        ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(gold))))
        gains = [h / propensity[label] for h, label in zip(hits, row, strict=False)]
        best = sorted((1 / propensity[label] for label in gold), reverse=True)[:k]
        p.append(sum(hits) / k)
        r.append(sum(hits) / len(gold))
        ndcg.append(dcg / ideal)
        psp.append((sum(gains), sum(best)))
        psn.append(tuple(sum(w / math.log2(i + 2) for i, w in enumerate(ws)) / ideal for ws in (gains, best)))
    ratio = [sum(u for u, _ in pairs) / sum(v for _, v in pairs) for pairs in (psp, psn)]
    mean = [sum(v) / len(v) for v in (p, r, ndcg)]
    return dict(zip(("p", "r", "ndcg", "psp", "psndcg"), mean + ratio, strict=True))


@st.composite
def rankings(draw):
    n_labels = draw(st.integers(1, 12))
    n = draw(st.integers(1, 8))
    label = st.integers(0, n_labels - 1)
    gold = draw(st.lists(st.sets(label, max_size=n_labels), min_size=n, max_size=n).filter(any))
    width = draw(st.integers(1, 6))
    row = st.lists(st.integers(-1, n_labels - 1), min_size=width, max_size=width)
    return n_labels, gold, np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=np.int32)


@given(rankings(), st.integers(1, 8), st.integers(1, 40))
def test_equals_the_definitions(case, k, chunk):
    n_labels, gold_rows, predicted = case
    gold = make_gold(gold_rows)
    propensity = propensities(label_counts(gold, n_labels), n_documents=max(3, len(gold)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_CHUNK", chunk)
        scores = score_ranking(predicted, gold, [k], propensities_l=propensity)
    expected = by_definition(predicted.tolist(), gold_rows, k, propensity)
    got = scores.means()
    for name, value in expected.items():
        assert got[f"{name}@{k}"] == pytest.approx(value, abs=1e-12), name
    assert scores.n_without_gold == sum(not g for g in gold_rows)
    assert scores.n_documents + scores.n_without_gold == len(gold_rows)


@given(rankings(), st.integers(1, 8))
def test_bounds_and_monotony(case, k):
    n_labels, gold_rows, predicted = case
    gold = make_gold(gold_rows)
    scores = score_ranking(
        predicted, gold, [k, k + 1], n_labels=n_labels, propensities_l=np.full(n_labels, 0.5)
    )
    got = scores.means()
    assert all(0 <= v <= 1 + 1e-12 for v in got.values())
    for rising in ("r", "coverage", "used"):
        assert got[f"{rising}@{k}"] <= got[f"{rising}@{k + 1}"]


def test_perfect_ranking_is_one_but_for_p():
    gold_rows = [{0, 3}, {1}, {2, 4, 5}]
    perfect = np.array([[3, 0, -1], [1, -1, -1], [5, 4, 2]])
    rare_first = np.array([0.9, 0.9, 0.1, 0.2, 0.3, 0.9])
    weighted = np.array([[3, 0, -1], [1, -1, -1], [2, 4, 5]])
    got = score_ranking(perfect, make_gold(gold_rows), [3]).means()
    assert got["r@3"] == got["ndcg@3"] == got["coverage@3"] == 1
    assert got["p@3"] == pytest.approx((2 + 1 + 3) / 9)
    got = score_ranking(weighted, make_gold(gold_rows), [1, 2, 3], propensities_l=rare_first).means()
    assert all(got[f"{m}@{k}"] == pytest.approx(1) for m in ("psp", "psndcg") for k in (1, 2, 3))


def test_hand_made_figures():
    predicted = np.array([[1, 0, 2], [5, 4, 4]])
    scores = score_ranking(predicted, make_gold([{0, 1, 3}, {4}]), [1, 3], n_labels=8)
    assert scores.values["p@1"].numerators.tolist() == [1, 0]
    assert scores.values["p@3"].numerators.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert scores.values["r@3"].numerators.tolist() == pytest.approx([2 / 3, 1])
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert scores.values["ndcg@3"].numerators.tolist() == pytest.approx(
        [(1 + 1 / math.log2(3)) / ideal, 1 / math.log2(3)]
    )
    assert scores.coverage == {"coverage@1": 1 / 4, "used@1": 2 / 8, "coverage@3": 3 / 4, "used@3": 5 / 8}


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_ndcg_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((6, 9)) < 0.3
    truth[:, 0] = True
    relevance = rng.permuted(np.tile(np.arange(9.0), (6, 1)), axis=1)
    predicted = np.argsort(-relevance, axis=1)
    gold = make_gold([set(np.flatnonzero(t).tolist()) for t in truth])
    got = score_ranking(predicted, gold, [1, 4, 9]).means()
    for k in (1, 4, 9):
        assert got[f"ndcg@{k}"] == pytest.approx(ndcg_score(truth, relevance, k=k))


def test_propensities_by_hand_and_by_frequency():
    got = propensities(np.array([0, 4, 1000]), n_documents=10_000)
    c = (math.log(10_000) - 1) * 2.5**0.55
    assert got.tolist() == pytest.approx([1 / (1 + c * (n + 1.5) ** -0.55) for n in (0, 4, 1000)])
    assert got[0] < got[1] < got[2] < 1
    # Known figure of the repository's definition: with A, B = .55, 1.5 a label seen once in 10^6 documents.
    assert 1 / propensities(np.array([1]), 1_000_000)[0] == pytest.approx(math.log(1_000_000), rel=1e-9)
    with pytest.raises(LmteachError, match="at least 3"):
        propensities(np.array([1]), 2)


def test_empty_places_and_repeats_are_misses():
    gold = make_gold([{0}, {1}])
    assert find_hits(np.array([[-1, 0, 0], [-1, -1, -1]]), gold).tolist() == [
        [False, True, False],
        [False] * 3,
    ]


def test_documents_without_gold_are_left_out_and_counted():
    gold = make_gold([{0}, set(), {1}])
    scores = score_ranking(np.array([[0], [0], [0]]), gold, [1], propensities_l=np.array([0.5, 0.5]))
    assert (scores.n_documents, scores.n_without_gold) == (2, 1)
    assert scores.means()["p@1"] == scores.means()["psp@1"] == 0.5
    empty = score_ranking(np.array([[0]]), make_gold([set()]), [1])
    assert math.isnan(empty.means()["p@1"])
    assert math.isnan(empty.coverage["coverage@1"])


@pytest.mark.parametrize(
    ("predicted", "ks", "message"),
    [
        (np.zeros((2, 3), dtype=int), [1], "do not fit"),
        (np.zeros(1, dtype=int), [1], "do not fit"),
        (np.zeros((1, 3)), [1], "integers"),
        (np.zeros((1, 3), dtype=int), [0, 1], "1 or more"),
        (np.zeros((1, 3), dtype=int), [], "1 or more"),
    ],
)
def test_wrong_input_is_named(predicted, ks, message):
    with pytest.raises(LmteachError, match=message):
        score_ranking(predicted, make_gold([{0}]), ks)


def test_gold_beyond_the_propensities_is_named():
    with pytest.raises(LmteachError, match="label id 7"):
        score_ranking(np.array([[0]]), make_gold([{7}]), [1], propensities_l=np.ones(3))
