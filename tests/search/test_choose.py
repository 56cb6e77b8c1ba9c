"""The choice between exact search and ScaNN, and recall@k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.search import choose
from lmteach.search.choose import choose_searcher, exact_seconds, recall_at_k, scann_seconds


@pytest.fixture(autouse=True)
def _scann_is_installed(monkeypatch):
    monkeypatch.setattr(choose.importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("n_labels", "n_queries", "name"),
    [
        (13_000, 10_000_000, "exact"),  # below 20k labels always
        (131_000, 1_000, "exact"),
        (131_000, 20_000, "exact"),
        (131_000, 30_000, "scann"),  # measured break-even: about 26,000
        (500_000, 40_000, "exact"),
        (500_000, 60_000, "scann"),  # about 47,000
        (3_000_000, 100, "exact"),
        (3_000_000, 10_000_000, "scann"),
    ],
)
def test_follows_the_measured_break_even(n_labels, n_queries, name):
    choice = choose_searcher(n_labels, n_queries)
    assert choice.name == name
    assert f"{n_labels:,} labels" in choice.reason


def test_a_gpu_or_a_missing_scann_means_exact(monkeypatch):
    assert choose_searcher(500_000, 1_000_000, on_gpu=True).name == "exact"
    assert choose_searcher(500_000, 1_000_000, exact_below=600_000).name == "exact"
    monkeypatch.setattr(choose.importlib.util, "find_spec", lambda name: None)
    choice = choose_searcher(500_000, 1_000_000)
    assert choice.name == "exact"
    assert "not installed" in choice.reason


def test_costs_meet_the_measurements_and_rise():
    assert exact_seconds(13_000, 39_000) == pytest.approx(1)
    assert exact_seconds(500_000, 362) == pytest.approx(1)
    assert scann_seconds(131_000, 49_000) == pytest.approx(12)
    assert exact_seconds(13_000, 39_000, dim=768) == pytest.approx(2)
    costs = [(exact_seconds(n, 1000), scann_seconds(n, 1000)) for n in (1_000, 13_001, 131_001, 10**7)]
    assert all(sorted(column) == list(column) for column in zip(*costs, strict=True))


rows = st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4, unique=True), min_size=1, max_size=5)


@given(rows, st.randoms())
def test_recall_by_sets(exact, random):
    approx = [random.sample([*row, 10, 11], 4) for row in exact]
    wanted = sum(i >= 0 for row in exact for i in row)
    found = sum(len({i for i in e if i >= 0} & set(a)) for e, a in zip(exact, approx, strict=True))
    got = recall_at_k(np.array(approx), np.array(exact))
    assert got == pytest.approx(found / wanted) if wanted else np.isnan(got)
    assert not wanted or recall_at_k(np.array(exact)[:, ::-1], np.array(exact)) == 1
