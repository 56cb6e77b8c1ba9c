"""Bootstrap intervals: coverage of the truth, agreement with a plain loop, and the paired test."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import LmteachError
from lmteach.metrics import intervals
from lmteach.metrics.intervals import bootstrap_intervals, paired_bootstrap
from lmteach.metrics.values import PerDocument, means


def test_equals_a_plain_loop():
    rng = np.random.default_rng(3)
    upper, lower = rng.random(40), rng.random(40) + 0.5
    got = bootstrap_intervals(
        {"m": PerDocument(upper), "ratio": PerDocument(upper, lower)}, resamples=200, seed=9
    )
    draws = np.random.default_rng(9)
    picks = [draws.integers(0, 40, size=40) for _ in range(200)]
    for name, drawn in {
        "m": [upper[p].mean() for p in picks],
        "ratio": [upper[p].sum() / lower[p].sum() for p in picks],
    }.items():
        assert (got[name].low, got[name].high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    assert got["ratio"].mean == pytest.approx(upper.sum() / lower.sum())


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        sample = (rng.random(150) < 0.3).astype(float)
        interval = bootstrap_intervals({"m": PerDocument(sample)}, resamples=300, seed=trial)["m"]
        held += interval.low <= 0.3 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5), st.integers(1, 50))
def test_bounds_and_chunks(sample, seed, chunk):
    values = {"m": PerDocument(np.array(sample))}
    whole = bootstrap_intervals(values, resamples=50, seed=seed)["m"]
    assert min(sample) - 1e-9 <= whole.low <= whole.high <= max(sample) + 1e-9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_CHUNK", chunk)
        chunked = bootstrap_intervals(values, resamples=50, seed=seed)["m"]
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high))


def test_a_single_document_and_none():
    assert bootstrap_intervals({"m": PerDocument(np.array([0.4]))})["m"].low == pytest.approx(0.4)
    none = bootstrap_intervals({"m": PerDocument(np.array([]))})["m"]
    assert all(math.isnan(x) for x in (none.mean, none.low, none.high))
    assert str(bootstrap_intervals({"m": PerDocument(np.ones(5))})["m"]) == "1.000 [1.000, 1.000]"


def test_the_pair_is_sharper_than_two_intervals():
    rng = np.random.default_rng(1)
    hardness = rng.random(400)
    a = {"p@1": PerDocument(hardness)}
    b = {"p@1": PerDocument(hardness + 0.02 + 0.01 * rng.standard_normal(400))}
    got = paired_bootstrap(a, b)["p@1"]
    assert got.difference == pytest.approx(means(b)["p@1"] - means(a)["p@1"])
    assert 0.015 < got.low < got.difference < got.high < 0.025
    assert got.p_value == pytest.approx(2 / 1001)
    separate = bootstrap_intervals(a)["p@1"]
    assert separate.high - separate.low > 10 * (got.high - got.low)


def test_equal_runs_do_not_differ():
    rng = np.random.default_rng(1)
    run = {m: PerDocument(rng.random(97), rng.random(97) + 0.1) for m in ("a", "b", "c")}
    for got in paired_bootstrap(run, run).values():
        assert (got.difference, got.low, got.high, got.p_value) == (0, 0, 0, 1)


def test_p_values_are_small_by_chance_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    p = []
    for trial in range(200):
        a, b = ((rng.random(120) < 0.4).astype(float) for _ in range(2))
        p.append(
            paired_bootstrap({"m": PerDocument(a)}, {"m": PerDocument(b)}, resamples=200, seed=trial)[
                "m"
            ].p_value
        )
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.11


def test_wrong_input_is_named():
    one, two = {"m": PerDocument(np.ones(1))}, {"m": PerDocument(np.ones(2))}
    with pytest.raises(LmteachError, match="different documents"):
        paired_bootstrap(one, two)
    with pytest.raises(LmteachError, match="no metric in common"):
        paired_bootstrap(one, {"other": PerDocument(np.ones(1))})
    with pytest.raises(LmteachError, match="at least 1"):
        bootstrap_intervals(one, resamples=0)
    with pytest.raises(LmteachError, match="one length"):
        PerDocument(np.ones(2), np.ones(3))
