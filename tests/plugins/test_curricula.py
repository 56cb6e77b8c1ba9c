"""Curricula: which documents, and whether to go on; pure functions, so that a resumed run decides alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach import registry
from lmteach.curriculum.protocol import Curriculum, CycleResult, CycleState
from lmteach.errors import RecipeError


def build(name: str, **keys: object) -> Curriculum:
    curriculum: Curriculum = registry.build("curriculum", {"name": name, **keys})
    return curriculum


def history(*dev_p1: float) -> list[CycleResult]:
    return [CycleResult(i, value, 10) for i, value in enumerate(dev_p1)]


@pytest.mark.parametrize("name", ["lmtx", "once"])
def test_it_is_a_curriculum_that_takes_all_documents(name: str) -> None:
    curriculum = build(name)
    assert isinstance(curriculum, Curriculum)
    for n in (None, 7, 99):
        found = build(name, n_documents=n).select(CycleState(0, 7, seed=1))
        assert found.dtype == np.int64
        assert found.tolist() == list(range(7))


@pytest.mark.parametrize("name", ["lmtx", "once"])
@given(n_documents=st.integers(1, 200), n=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_documents_are_distinct_in_order_and_decided_by_the_seed(
    name: str, n_documents: int, n: int, seed: int
) -> None:
    first = build(name, n_documents=n_documents).select(CycleState(0, n, seed))
    assert len(first) == min(n, n_documents)
    assert (np.diff(first) > 0).all()
    assert first.min() >= 0
    assert first.max() < n
    again = build(name, n_documents=n_documents).select(CycleState(0, n, seed))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["lmtx", "once"])
def test_another_seed_draws_others(name: str) -> None:
    curriculum = build(name, n_documents=50)
    one, other = (curriculum.select(CycleState(0, 1000, seed)).tolist() for seed in (1, 2))
    assert one != other


def test_lmtx_labels_the_same_documents_in_every_cycle() -> None:
    curriculum = build("lmtx", n_documents=50)
    cycles = [curriculum.select(CycleState(cycle, 1000, 108)).tolist() for cycle in range(3)]
    assert cycles[0] == cycles[1] == cycles[2]


def test_lmtx_may_draw_fresh_documents() -> None:
    curriculum = build("lmtx", n_documents=50, fresh=True)
    cycles = [tuple(curriculum.select(CycleState(cycle, 1000, 108)).tolist()) for cycle in range(3)]
    assert len(set(cycles)) == 3
    assert cycles[1] == tuple(curriculum.select(CycleState(1, 1000, 108)).tolist())


@pytest.mark.parametrize(
    ("seen", "patience", "goes_on"),
    [
        ([0.3], 1, True),
        ([0.3, 0.4], 1, True),
        ([0.3, 0.3], 1, False),  # no gain
        ([0.3, 0.2], 1, False),
        ([0.3, 0.4, 0.39], 1, False),
        ([0.3, 0.2], 2, True),
        ([0.3, 0.2, 0.31], 2, True),
        ([0.3, 0.2, 0.3], 2, False),  # the first of equals is the best
        ([0.0], 1, True),
        ([0.0, 0.0], 1, False),
    ],
)
def test_lmtx_stops_when_dev_no_longer_improves(seen: Sequence[float], patience: int, goes_on: bool) -> None:
    assert build("lmtx", cycles=10, patience=patience).keep_going(history(*seen)) is goes_on


def test_lmtx_stops_at_its_cycles_however_well_it_goes() -> None:
    curriculum = build("lmtx", cycles=3)
    assert curriculum.max_cycles == 3
    assert curriculum.keep_going(history(0.1, 0.2))
    assert not curriculum.keep_going(history(0.1, 0.2, 0.3))


def test_once_is_once() -> None:
    assert build("once").max_cycles == 1
    assert not build("once").keep_going(history(0.1))


@pytest.mark.parametrize(
    ("name", "key"),
    [("lmtx", "cycles"), ("lmtx", "patience"), ("lmtx", "n_documents"), ("once", "n_documents")],
)
@pytest.mark.parametrize("value", [0, -3])
def test_counts_below_one_are_refused(name: str, key: str, value: int) -> None:
    with pytest.raises(RecipeError, match=rf"curriculum\.{key}: It is {value}; it must be 1 or more"):
        build(name, **{key: value})
