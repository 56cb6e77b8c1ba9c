"""Agreement between raters against scikit-learn, scipy and the definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from lmteach.errors import LmteachError
from lmteach.metrics.agreement import (
    auc,
    auc_by_document,
    average_ranks,
    compare_raters,
    consistency,
    rate,
    spearman,
    votes,
    votes_from_scores,
    wilson_interval,
    yes_rate_by_rank,
)

answer = st.sampled_from([True, False, None])
score = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-5, 5))


@given(st.lists(st.tuples(answer, answer), max_size=40))
def test_raters_equal_scikit_learn(pairs):
    got = compare_raters(votes(a for a, _ in pairs), votes(b for _, b in pairs))
    read = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert got.agreed.n_unread == len(pairs) - len(read)
    assert got.yes_a.n_unread == sum(a is None for a, _ in pairs)
    assert got.yes_b.n_yes == sum(b is True for _, b in pairs)
    if not read:
        assert math.isnan(got.kappa)
        return
    a, b = zip(*read, strict=True)
    assert got.agreed.share == pytest.approx(sk.accuracy_score(a, b))
    if len({*a, *b}) == 1:
        assert math.isnan(got.kappa)
    else:
        assert got.kappa == pytest.approx(sk.cohen_kappa_score(a, b), abs=1e-9)


@given(st.lists(st.tuples(score, st.booleans()), max_size=40))
def test_auc_equals_scikit_learn_and_pairs(items):
    scores, gold = [s for s, _ in items], [g for _, g in items]
    read = [(s, g) for s, g in items if s is not None]
    got = auc(scores, np.array(gold, dtype=bool))
    if len({g for _, g in read}) < 2:
        assert math.isnan(got)
        return
    assert got == pytest.approx(sk.roc_auc_score([g for _, g in read], [s for s, _ in read]))
    right, wrong = ([s for s, g in read if g is side] for side in (True, False))
    pairs = [(r > w) + 0.5 * (r == w) for r, w in itertools.product(right, wrong)]
    assert got == pytest.approx(np.mean(pairs))


def test_auc_by_document_needs_no_common_scale():
    scores = [0.1, 0.2, 100.0, 101.0, 5.0, 6.0]
    gold = np.array([False, True, False, True, True, True])
    documents = np.array([7, 7, 3, 3, 9, 9])
    np.testing.assert_array_equal(auc_by_document(scores, gold, documents), [1, 1])
    shuffled = np.random.default_rng(0).permutation(6)
    np.testing.assert_array_equal(
        auc_by_document(np.array(scores)[shuffled], gold[shuffled], documents[shuffled]), [1, 1]
    )
    assert auc(scores, gold) < 1


@given(st.lists(st.tuples(score, score), max_size=30))
def test_spearman_equals_scipy(pairs):
    got = spearman([a for a, _ in pairs], [b for _, b in pairs])
    read = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len({a for a, _ in read}) < 2 or len({b for _, b in read}) < 2:
        assert math.isnan(got)
        return
    assert got == pytest.approx(stats.spearmanr(*zip(*read, strict=True)).statistic, abs=1e-9)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_average_ranks_equal_scipy(values):
    np.testing.assert_array_equal(average_ranks(np.array(values, dtype=float)), stats.rankdata(values))


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy(n, data, level):
    n_yes = data.draw(st.integers(0, n))
    got = wilson_interval(n_yes, n, level)
    expected = stats.binomtest(n_yes, n).proportion_ci(level, method="wilson")
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert got.mean == n_yes / n


def test_wilson_without_observations():
    interval = wilson_interval(0, 0)
    assert math.isnan(interval.mean)
    assert (interval.low, interval.high) == (0, 1)


def test_yes_rate_by_rank():
    table = votes([True, None, True, False, True, False]).reshape(3, 2)
    first, second = yes_rate_by_rank(table)
    assert (first.n_yes, first.n_read, first.n_unread, first.share) == (3, 3, 0, 1)
    assert (second.n_yes, second.n_read, second.n_unread) == (0, 2, 1)


@given(st.lists(st.lists(answer, min_size=3, max_size=3), min_size=1, max_size=20))
def test_consistency_by_words(table):
    got = consistency(np.stack([votes(row) for row in table]))
    read = [[a for a in row if a is not None] for row in table]
    assert got.n_unread == sum(len(row) < 2 for row in read)
    assert got.n_yes == sum(len(row) >= 2 and len(set(row)) == 1 for row in read)


@given(st.lists(score, max_size=20), st.floats(-2, 2))
def test_votes_from_scores(scores, threshold):
    assume(threshold not in scores)
    got = votes_from_scores(scores, threshold)
    np.testing.assert_array_equal(got, votes(None if s is None else s > threshold for s in scores))


def test_votes_from_scores_at_the_threshold_and_nan():
    assert votes_from_scores([0.0, float("nan"), None, 1e-9]).tolist() == [0, -1, -1, 1]
    assert rate(votes([])).n_read == 0


def test_different_lengths_are_named():
    for compare in (
        lambda: compare_raters(votes([True]), votes([])),
        lambda: auc([1.0], np.array([True, False])),
        lambda: spearman([1.0], [1.0, 2.0]),
        lambda: auc_by_document([1.0], np.array([True]), np.array([1, 2])),
    ):
        with pytest.raises(LmteachError, match="one length"):
            compare()
