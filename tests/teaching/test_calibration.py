"""Calibration against scikit-learn, against known truth, and at the edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from lmteach.errors import RunError
from lmteach.teaching.calibration import Calibration, calibrate, threshold_at_precision, wilson_lower


def some_answers(n: int, scale: float, bias: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(2.0, 5.0, n)
    return scores, rng.random(n) < 1 / (1 + np.exp(-(scale * scores + bias)))


@pytest.mark.parametrize(("scale", "bias"), [(0.5, -1.0), (2.0, 3.0), (-0.7, 0.5), (0.01, 0.0)])
def test_platt_finds_the_scale_and_bias_of_the_data(scale: float, bias: float) -> None:
    found = calibrate(*some_answers(40000, scale, bias))
    assert found.scale == pytest.approx(scale, rel=0.06, abs=0.01)
    assert found.bias == pytest.approx(bias, rel=0.06, abs=0.05)
    assert found.informative == (scale > 0)
    assert found.loss_after <= found.loss_before


def test_platt_is_logistic_regression_on_smoothed_targets() -> None:
    scores, relevant = some_answers(200, 0.8, -2.0, seed=3)
    n_yes, n_no = relevant.sum(), (~relevant).sum()
    weight = np.where(relevant, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000).fit(
        np.concatenate([scores, scores])[:, None],
        np.repeat([1, 0], 200),
        sample_weight=np.concatenate([weight, 1 - weight]),
    )
    found = calibrate(scores, relevant)
    assert found.scale == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.bias == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_temperature_has_no_bias() -> None:
    found = calibrate(*some_answers(40000, 0.25, 0.0), method="temperature")
    assert found.bias == 0.0
    assert found.scale == pytest.approx(0.25, rel=0.05)


def test_separable_and_one_sided_answers_stay_finite() -> None:
    separable = calibrate([-2.0, -1.0, 1.0, 2.0], [False, False, True, True])
    assert 0 < separable.scale < 100
    for truth in (True, False):
        alone = calibrate([1.0, 2.0, 3.0], [truth] * 3)
        assert np.isfinite([alone.scale, alone.bias]).all()
        assert (alone.probability(2.0) > 0.5) == truth
    constant = calibrate([7.0] * 4, [True, False, False, False])
    assert constant.probability(7.0) == pytest.approx((2 / 3 + 3 / 5) / 4, abs=1e-4)
    huge = calibrate([1e6, 2e6, 3e6, -1e6], [True, False, True, False])
    assert np.isfinite([huge.scale, huge.bias, huge.loss_after]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-8, 8).map(float), st.booleans()), min_size=1, max_size=80),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_threshold_is_the_lowest_cut_that_holds_its_promise(
    answers: list[tuple[float, bool]], precision: float
) -> None:
    scores, relevant = np.array([a for a, _ in answers]), np.array([b for _, b in answers])
    threshold = threshold_at_precision(scores, relevant, precision)

    def holds(cut: float) -> bool:
        kept = relevant[scores > cut]
        return len(kept) > 0 and wilson_lower(kept.sum(), len(kept)) >= precision

    if np.isfinite(threshold):
        assert holds(threshold)
        assert not any(
            holds(cut) for cut in np.arange(-9.5, 9) if (scores > cut).sum() > (scores > threshold).sum()
        )
    else:
        assert not any(holds(cut) for cut in np.arange(-9.5, 9))


def test_a_perfect_teacher_needs_enough_answers_for_a_promise() -> None:
    assert calibrate([1.0] * 5 + [-1.0] * 5, [True] * 5 + [False] * 5, precision=0.9).threshold == np.inf
    found = calibrate([1.0] * 40 + [-1.0] * 40, [True] * 40 + [False] * 40, precision=0.9)
    assert -1.0 <= found.threshold < 1.0


def test_wilson_against_published_values() -> None:
    """Newcombe (1998), table I: 81 of 263, 95% two-sided, lower limit 0.2553; 15 of 148, 0.0624."""
    assert wilson_lower(81, 263, 1.959964) == pytest.approx(0.2553, abs=5e-5)
    assert wilson_lower(15, 148, 1.959964) == pytest.approx(0.0624, abs=5e-5)
    assert wilson_lower(0, 20, 1.959964) == 0.0


def test_unread_answers_are_left_out() -> None:
    scores, relevant = some_answers(50, 1.0, 0.0)
    with_unread = calibrate(np.append(scores, [np.nan] * 9), np.append(relevant, [True] * 9))
    assert with_unread == calibrate(scores, relevant)
    assert np.isnan(with_unread.probability([np.nan])).all()


def test_saved_and_read_back_through_json() -> None:
    for precision in (0.5, 0.999999):
        found = calibrate(*some_answers(60, 1.0, 0.0), teacher="t", precision=precision)
        assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(RunError, match="bias"):
        Calibration.from_dict({k: v for k, v in found.to_dict().items() if k != "bias"})


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 scores, 1 truths"):
        calibrate([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="no score"):
        calibrate([np.nan], [True])
    with pytest.raises(ValueError, match="precision"):
        calibrate([1.0], [True], precision=1.0)
