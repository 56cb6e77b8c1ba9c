"""Probabilities and thresholds: what each promises holds on what it was fitted on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.curriculum.judging import JudgedShortlist
from lmteach.errors import LmteachError, RunError
from lmteach.serving.run_verdicts import affirmed
from lmteach.serving.thresholds import Candidates, ScoreCalibration, Targets, fit_calibration


def candidates(scores: object, right: object, n_right: int | None = None) -> Candidates:
    scores_nk = np.asarray(scores, dtype=np.float32)
    right_nk = np.asarray(right, dtype=bool)
    return Candidates(scores_nk, np.ones_like(right_nk), right_nk, n_right or int(right_nk.sum()))


@st.composite
def drawn(draw: st.DrawFn) -> Candidates:
    n, k = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores_nk = np.sort(rng.uniform(-1, 1, (n, k)).round(draw(st.integers(1, 3))), axis=1)[:, ::-1]
    right_nk = rng.uniform(size=(n, k)) < draw(st.floats(0, 1))
    known_nk = rng.uniform(size=(n, k)) < draw(st.sampled_from([0.5, 1.0]))
    missed = draw(st.integers(0, 5))
    return Candidates(
        scores_nk.astype(np.float32), known_nk, right_nk & known_nk, int((right_nk & known_nk).sum()) + missed
    )


@given(drawn(), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
@settings(max_examples=150, deadline=None)
def test_what_a_threshold_says_it_reached_it_reaches(
    found: Candidates, precision: float, recall: float
) -> None:
    fitted = fit_calibration(found, "these", Targets(precision, recall))
    if fitted is None:
        assert not found.known_nk.any()
        return
    scores, right = found.scores_nk[found.known_nk].astype(float), found.right_nk[found.known_nk]
    best = 0.0
    for cut in np.unique(scores):
        kept = scores >= cut
        best = max(best, 2 * right[kept].sum() / (kept.sum() + found.n_right))
    for name, score in fitted.thresholds.items():
        if score is None:
            continue
        kept = scores >= score
        hit = right[kept].sum()
        reached = fitted.reached[name]
        assert reached["precision"] == pytest.approx(hit / kept.sum())
        assert reached["recall"] == pytest.approx(hit / found.n_right)
        aimed = {"precision": precision, "recall": recall, "f1": best}[name]
        assert reached[name] >= aimed - 1e-9
    if fitted.thresholds["recall"] is None:
        assert right.sum() < recall * found.n_right or not found.n_right
    if right.any():
        assert fitted.thresholds["f1"] is not None
    p = fitted.probabilities([-1.0, 0.0, 1.0])
    assert (np.diff(p) >= 0).all(), "a better score is never less likely right"
    assert ((p >= 0) & (p <= 1)).all()
    assert ScoreCalibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (4000, 5))
    right = rng.uniform(size=scores.shape) < 1 / (1 + np.exp(-(8 * scores - 5)))
    fitted = fit_calibration(candidates(scores, right), "made up", Targets())
    assert fitted is not None
    assert (fitted.scale, fitted.bias) == pytest.approx((8, -5), rel=0.05)
    p = fitted.probabilities(scores)
    for low in (0.1, 0.4, 0.7):
        within = (p >= low) & (p < low + 0.2)
        assert right[within].mean() == pytest.approx(p[within].mean(), abs=0.03)


def test_a_score_that_says_nothing_gives_every_label_the_base_rate() -> None:
    scores = np.linspace(0, 1, 100).reshape(20, 5)
    fitted = fit_calibration(candidates(scores, scores < 0.3), "upside down", Targets())
    assert fitted is not None
    assert fitted.scale == 0
    assert fitted.probabilities([0.0, 1.0]) == pytest.approx([0.3, 0.3], abs=0.02)


def test_an_aim_out_of_reach_is_none_and_said_when_asked_for() -> None:
    fitted = fit_calibration(candidates([[0.9, 0.5]] * 3, [[False, True]] * 3), "three", Targets(0.9, 0.9))
    assert fitted is not None
    assert fitted.thresholds["precision"] is None
    with pytest.raises(LmteachError, match=r"reaches precision 0\.9 on three"):
        fitted.least_score("precision")
    assert fitted.least_score("recall") == pytest.approx(0.5)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(RunError, match="colour"):
        ScoreCalibration.from_dict({"colour": 1})


def test_what_counts_as_right_follows_the_rule() -> None:
    nan = np.nan
    scores = np.array([[1.0, 2.0, nan], [-1.0, -2.0, 9.0], [nan, nan, nan]], dtype=np.float32)
    judged = JudgedShortlist(
        np.zeros((3, 3), dtype=np.int32), scores, np.array([[True] * 3, [True, True, False], [False] * 3])
    )
    assert affirmed(judged, "threshold", 0.0).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert affirmed(judged, "top", 0.0).tolist() == [
        [False, True, False],
        [True, False, False],
        [False] * 3,
    ]
