"""Classification metrics against scikit-learn and against their definitions spelt out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from lmteach.errors import LmteachError
from lmteach.metrics.classification import (
    expected_calibration_error,
    score_classes,
    score_multi_label,
    score_single_label,
)
from lmteach.metrics.intervals import bootstrap_intervals


@st.composite
def single_labels(draw):
    n, n_classes = draw(st.integers(1, 30)), draw(st.integers(2, 5))
    gold = draw(arrays(np.int64, n, elements=st.integers(0, n_classes - 1)))
    predicted = draw(arrays(np.int64, n, elements=st.integers(-1, n_classes - 1)))
    weights = draw(arrays(np.float64, (n, n_classes), elements=st.floats(0.01, 1)))
    return gold, predicted, n_classes, weights / weights.sum(axis=1, keepdims=True)


@given(single_labels())
def test_single_label_equals_scikit_learn(case):
    gold, predicted, n_classes, p = case
    scores = score_single_label(predicted, gold, n_classes, p)
    got = scores.means()
    # An unread answer (-1) is a class of its own to scikit-learn, which the listed labels leave out.
    occurring = sorted((set(gold) | set(predicted)) - {-1})
    options = {"labels": occurring, "zero_division": 0}
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(gold, predicted))
    assert got["macro_f1"] == pytest.approx(sk.f1_score(gold, predicted, average="macro", **options))
    assert got["micro_f1"] == pytest.approx(sk.f1_score(gold, predicted, average="micro", **options))
    precision, recall, f1, support = sk.precision_recall_fscore_support(gold, predicted, **options)
    for ours, theirs in [
        (scores.classes.precision_c, precision),
        (scores.classes.recall_c, recall),
        (scores.classes.f1_c, f1),
        (scores.classes.support_c, support),
    ]:
        np.testing.assert_allclose(ours[occurring], theirs)
        absent = np.setdiff1d(np.arange(n_classes), occurring)
        assert (
            np.isnan(ours[absent]).all() if ours is not scores.classes.support_c else not ours[absent].any()
        )
    absent = np.setdiff1d(np.arange(n_classes), occurring)
    assert np.isnan(scores.classes.f1_c[absent]).all()
    assert not scores.classes.support_c[absent].any()
    onehot = np.eye(n_classes)[gold]
    assert got["brier"] == pytest.approx(((p - onehot) ** 2).sum(1).mean())


@given(st.data())
def test_multi_label_equals_scikit_learn(data):
    n, n_classes = data.draw(st.integers(1, 20)), data.draw(st.integers(2, 5))
    gold = data.draw(arrays(bool, (n, n_classes)))
    predicted = data.draw(arrays(bool, (n, n_classes)))
    p = data.draw(arrays(np.float64, (n, n_classes), elements=st.floats(0, 1)))
    got = score_multi_label(predicted, gold, p).means()
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(gold, predicted))
    occurs = (gold | predicted).any(0)
    if occurs.any():
        assert got["macro_f1"] == pytest.approx(
            np.mean(
                [sk.f1_score(gold[:, c], predicted[:, c], zero_division=0) for c in np.flatnonzero(occurs)]
            )
        )
        assert got["micro_f1"] == pytest.approx(
            sk.f1_score(gold, predicted, average="micro", zero_division=0)
        )
    else:
        assert math.isnan(got["macro_f1"])
        assert math.isnan(got["micro_f1"])
    assert got["brier"] == pytest.approx(sk.mean_squared_error(gold.astype(float).ravel(), p.ravel()))
    assert got["ece"] == pytest.approx(ece_by_definition(p.ravel(), gold.ravel(), 15))


def ece_by_definition(confidence, right, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if math.ceil(c * bins) == b + 1 or (b == 0 and math.ceil(c * bins) == 0)
        ]
        if inside:
            share = np.mean([right[i] for i in inside])
            total += len(inside) * abs(share - np.mean([confidence[i] for i in inside]))
    return total / len(confidence)


def test_calibration_by_hand():
    assert expected_calibration_error(np.array([0.9, 0.9]), np.array([True, True])) == pytest.approx(0.1)
    assert expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])) == pytest.approx(0.4)
    # Edges belong to the lower bin: with two bins 0.5 stands with 0.1 and not with 0.9.
    got = expected_calibration_error(np.array([0.1, 0.5, 0.9]), np.array([0, 1, 1]), bins=2)
    assert got == pytest.approx((abs(1 - 0.6) + 0.1) / 3)
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    assert expected_calibration_error(p, rng.random(50_000) < p) < 0.02
    assert math.isnan(expected_calibration_error(np.array([]), np.array([])))


def test_single_label_calibration_takes_the_greatest_probability():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    got = score_single_label(np.array([0, 1]), np.array([0, 2]), 3, p).means()
    assert got["ece"] == pytest.approx((abs(1 - 0.7) + abs(0 - 0.6)) / 2)
    binary = score_single_label(np.array([1, 0]), np.array([1, 1]), 2, np.array([[0.2, 0.8], [0.6, 0.4]]))
    expected = 2 * sk.brier_score_loss([1, 1], [0.8, 0.4])
    assert binary.means()["brier"] == pytest.approx(expected)


def test_an_unread_answer_is_wrong_even_for_class_0():
    scores = score_single_label(np.array([-1, 0]), np.array([0, 0]), 2)
    assert scores.values["accuracy"].numerators.tolist() == [0, 1]
    assert scores.classes.recall_c[0] == 0.5
    assert scores.classes.precision_c[0] == 1


def test_values_can_be_resampled_and_no_documents_give_nan():
    scores = score_single_label(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), 2)
    interval = bootstrap_intervals(scores.values)["micro_f1"]
    assert interval.mean == 0.5
    assert interval.low < 0.5 < interval.high
    none = score_single_label(np.zeros(0, int), np.zeros(0, int), 2, np.zeros((0, 2))).means()
    assert all(math.isnan(v) for v in none.values())


def test_class_scores_of_an_absent_class_are_undefined():
    scores = score_classes(np.array([[True, False]]), np.array([[False, False]]))
    assert scores.precision_c[0] == scores.recall_c[0] == scores.f1_c[0] == 0
    assert np.isnan([scores.precision_c[1], scores.recall_c[1], scores.f1_c[1]]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], 2), "must both be"),
        (([0], [2], 2), "Gold classes"),
        (([0], [-1], 2), "Gold classes"),
        (([2], [0], 2), "Predicted classes"),
        (([-2], [0], 2), "Predicted classes"),
        (([0], [0], 2, np.array([[0.5, 0.6]])), "sum to 1"),
        (([0], [0], 2, np.array([[0.5]])), "do not fit"),
        (([0], [0], 2, np.array([[np.nan, 1]])), "NaN"),
        (([0], [0], 2, np.array([[-0.5, 1.5]])), "between 0 and 1"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(LmteachError, match=message):
        score_single_label(*arguments)
    with pytest.raises(LmteachError, match="must both be"):
        score_multi_label(np.ones((2, 3)), np.ones((2, 2)))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_calibration_error_equals_one_bin_at_a_time(pairs, bins):
    confidence, right = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
    total = 0.0
    for b in range(bins):
        members = [i for i, c in enumerate(confidence) if b == min(max(math.ceil(c * bins) - 1, 0), bins - 1)]
        if members:
            gap = abs(right[members].mean() - confidence[members].mean())
            total += len(members) / len(pairs) * gap
    assert expected_calibration_error(confidence, right, bins=bins) == pytest.approx(total, abs=1e-12)
