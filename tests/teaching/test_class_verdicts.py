"""Class probabilities from a teacher's scores: leaning taken off, prompts pooled, unread answers kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import RunError
from lmteach.teaching.class_verdicts import (
    ClassVerdicts,
    class_log_probs,
    mean_prior,
    pool,
    pool_log_odds,
    without_prior,
)

LOG = np.log
rows = st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=6)


@given(rows)
def test_scores_become_distributions_and_stay_when_they_are(scores: list[list[float]]) -> None:
    found = class_log_probs(scores)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    np.testing.assert_allclose(class_log_probs(found), found, atol=1e-9)
    best = np.asarray(scores).argmax(axis=1)
    np.testing.assert_allclose(found[np.arange(len(found)), best], found.max(axis=1), atol=1e-9)


def test_one_unread_class_makes_the_row_unread() -> None:
    found = class_log_probs([[0.0, np.nan], [0.0, 0.0]])
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], LOG(0.5))


def test_a_leaning_teacher_is_set_upright() -> None:
    """By hand: says .8 of nothing; so .9 is a lean yes and .7 a no."""
    leaning = mean_prior(LOG([[0.8, 0.2], [0.8, 0.2]]))
    found = np.exp(without_prior(LOG([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2]]), leaning))
    expected = [[0.9 / 0.8, 0.1 / 0.2], [0.7 / 0.8, 0.3 / 0.2], [1.0, 1.0]]
    np.testing.assert_allclose(found, [np.divide(r, sum(r)) for r in expected])


def test_a_uniform_leaning_changes_nothing() -> None:
    log_probs = class_log_probs(np.random.default_rng(0).normal(size=(5, 4)))
    np.testing.assert_allclose(without_prior(log_probs, np.full(4, 0.25)), log_probs)


def test_a_leaning_of_unread_texts_is_uniform_and_none_of_them_counts() -> None:
    nan = np.full((2, 3), np.nan)
    np.testing.assert_allclose(mean_prior(nan), 1 / 3)
    np.testing.assert_allclose(mean_prior(np.vstack([nan, LOG([[0.5, 0.25, 0.25]])])), [0.5, 0.25, 0.25])


def test_prompts_are_averaged_as_probabilities_with_their_agreement() -> None:
    a, b, c = LOG([[0.9, 0.1]]), LOG([[0.6, 0.4]]), LOG([[0.2, 0.8]])
    pooled, agreement = pool([a, b, c])
    np.testing.assert_allclose(np.exp(pooled), [[1.7 / 3, 1.3 / 3]])
    assert agreement[0] == pytest.approx(2 / 3)


def test_an_unread_prompt_has_no_say() -> None:
    nan = np.full((2, 2), np.nan)
    said = np.vstack([LOG([[0.3, 0.7]]), [[np.nan, np.nan]]])
    pooled, agreement = pool([nan, said])
    np.testing.assert_allclose(np.exp(pooled[0]), [0.3, 0.7])
    assert agreement[0] == 1
    assert np.isnan(pooled[1]).all()
    assert np.isnan(agreement[1])


def test_log_odds_are_pooled_class_by_class() -> None:
    pooled, agreement = pool_log_odds([np.array([[2.0, -1.0]]), np.array([[4.0, np.nan]])])
    np.testing.assert_allclose(pooled, [[3.0, -1.0]])
    assert agreement[0] == 1
    pooled, agreement = pool_log_odds([np.array([[2.0, -1.0]]), np.array([[-1.0, -1.0]])])
    assert agreement[0] == pytest.approx(3 / 4)


def test_they_come_back_from_disk_and_damage_is_named(tmp_path: Path) -> None:
    verdicts = ClassVerdicts(
        LOG([[0.9, 0.1]]), np.array([True]), np.array([1.0]), np.array([[0.5, 0.5]]), "budget.usd = 1"
    )
    verdicts.save(tmp_path / "v.npz")
    again = ClassVerdicts.load(tmp_path / "v.npz")
    assert again.stopped_by == "budget.usd = 1"
    np.testing.assert_array_equal(again.log_odds_nC, verdicts.log_odds_nC)
    (tmp_path / "v.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:100])
    with pytest.raises(RunError, match=r"v\.npz"):
        ClassVerdicts.load(tmp_path / "v.npz")
