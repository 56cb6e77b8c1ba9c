"""Noise-aware labels: weights and targets by hand, confident learning on flips that are known."""

from __future__ import annotations

import numpy as np
import pytest

from lmteach.errors import LmteachError
from lmteach.teaching.noise import (
    confidence_weights,
    cross_validated,
    errors_by_gold,
    errors_without_gold,
    flag_mislabelled,
    targets,
)

LOG = np.log


def blobs(n: int = 400, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around well separated centres, and their classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    centres = 4 * np.eye(n_classes, 8)
    return (centres[truth] + rng.normal(size=(n, 8))).astype(np.float32), truth


def flipped(truth: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    return np.where(wrong, (truth + 1) % 3, truth)


def test_targets_by_hand() -> None:
    log_probs = LOG([[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_allclose(targets(log_probs, multilabel=False, soft=True), [[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_array_equal(targets(log_probs, multilabel=False, soft=False), [[1, 0], [0, 1]])
    log_odds = np.array([[2.0, -1.0, 0.5]])
    np.testing.assert_array_equal(targets(log_odds, multilabel=True, soft=False, threshold=1.0), [[1, 0, 0]])
    np.testing.assert_allclose(targets(log_odds, multilabel=True, soft=True), 1 / (1 + np.exp(-log_odds)))


def test_weights_follow_the_margin_and_have_mean_one() -> None:
    found = confidence_weights(LOG([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]), multilabel=False)
    np.testing.assert_allclose(found / found[0], [1, 0.2 / 0.85, 0], atol=1e-9)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(confidence_weights(LOG([[0.5, 0.5]]), multilabel=False), [1])


def test_probabilities_are_out_of_sample() -> None:
    """With labels that are pure chance a model that saw its own documents would be right far too often."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(120, 100)).astype(np.float32), rng.integers(0, 2, 120)
    probs = cross_validated(vectors, labels, 2, seed=0)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert (probs.argmax(axis=1) == labels).mean() < 0.65


def test_a_rare_class_does_not_break_the_folds() -> None:
    vectors, truth = blobs(60, 2)
    truth[7] = 2
    probs = cross_validated(vectors, truth, 4, seed=0)
    assert probs.shape == (60, 4)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_too_few_documents_are_said_so() -> None:
    with pytest.raises(LmteachError, match="too few"):
        cross_validated(np.zeros((9, 2), np.float32), np.arange(9) % 2, 2, seed=0)
    with pytest.raises(LmteachError, match="1 classes"):
        cross_validated(np.zeros((20, 2), np.float32), np.zeros(20, np.int64), 2, seed=0)


def test_flipped_labels_are_flagged() -> None:
    vectors, truth = blobs()
    labels = flipped(truth, 0.1)
    flagged = flag_mislabelled(labels, cross_validated(vectors, labels, 3, seed=0))
    wrong = labels != truth
    assert flagged[wrong].mean() > 0.8
    assert flagged[~wrong].mean() < 0.05


def test_errors_by_gold_are_counted() -> None:
    found = errors_by_gold(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
    np.testing.assert_allclose(found.joint_CC, [[0.25, 0.25], [0, 0.5]])
    assert found.rate == pytest.approx(0.25)
    np.testing.assert_allclose(found.missed, [0, 1 / 3])
    np.testing.assert_allclose(found.misapplied, [0.5, 0])


def test_errors_are_estimated_without_gold() -> None:
    vectors, truth = blobs(900)
    labels = np.where((truth == 0) & (np.arange(900) % 5 == 0), 1, truth)  # a fifth of class 0 is called 1
    found = errors_without_gold(labels, cross_validated(vectors, labels, 3, seed=0))
    counted = errors_by_gold(labels, truth, 3)
    np.testing.assert_allclose(found.missed, counted.missed, atol=0.08)
    assert found.rate == pytest.approx(counted.rate, abs=0.03)
