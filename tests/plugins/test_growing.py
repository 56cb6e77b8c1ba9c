"""Curricula that grow: which documents come next, and when another cycle is no longer worth its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.curriculum.protocol import Curriculum, CycleResult, CycleState
from lmteach.errors import RecipeError
from lmteach_plugins.curricula.coverage import k_centre
from lmteach_plugins.curricula.uncertainty import margins

NAMES = ("random", "uncertainty", "coverage", "mixed")


def build(name: str, **keys: object) -> Curriculum:
    curriculum: Curriculum = registry.build("curriculum", {"name": name, **keys})
    return curriculum


def vectors(positions: np.ndarray) -> np.ndarray:
    """Documents lie on a circle, in order."""
    angle = positions / 50
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def probabilities(positions: np.ndarray) -> np.ndarray:
    """The student is least sure around document 30."""
    p = 1 / (1 + np.exp(-(positions - 30) / 5))
    return np.stack([1 - p, p], axis=1)


def state(
    cycle: int, n: int, labelled: Sequence[int] = (), *, seed: int = 1, known: bool = True
) -> CycleState:
    done = np.asarray(sorted(labelled), dtype=np.int64)
    return CycleState(
        cycle, n, seed, done, vectors if known else None, probabilities if known and cycle else None
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_chosen_is_new_distinct_and_decided_by_the_seed(name: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 80))
    n_documents, pool = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 90) | st.none())
    labelled = data.draw(st.sets(st.integers(0, n - 1)))
    cycle, known = data.draw(st.integers(0, 3)), data.draw(st.booleans())
    now = state(cycle, n, list(labelled), known=known)
    curriculum = build(name, n_documents=n_documents, pool=pool, cycles=9)
    assert isinstance(curriculum, Curriculum)
    found = curriculum.select(now)
    assert found.dtype == np.int64
    assert len(found) == min(n_documents, n - len(labelled))
    assert (np.diff(found) > 0).all()
    assert not set(found.tolist()) & labelled
    np.testing.assert_array_equal(build(name, n_documents=n_documents, pool=pool).select(now), found)


def test_uncertainty_takes_what_the_student_doubts() -> None:
    found = build("uncertainty", n_documents=5, cycles=3).select(state(1, 100, [0, 99]))
    assert found.tolist() == [28, 29, 30, 31, 32]
    first = build("uncertainty", n_documents=5).select(state(0, 100))
    assert np.ptp(first) > 10  # nobody to ask yet


def test_margins_by_hand() -> None:
    np.testing.assert_allclose(margins(np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])), [0.5, 0.0])
    np.testing.assert_allclose(
        margins(np.array([[0.9, 0.55], [0.99, 0.98]])), [0.1, 0.96]
    )  # several may apply


def test_coverage_spreads_out_and_away_from_what_is_labelled() -> None:
    found = build("coverage", n_documents=2, pool=None).select(state(0, 100, [0]))
    assert found[-1] == 99  # the farthest from 0 on the arc
    assert 40 < found[0] < 60  # and then the middle between the two


def test_coverage_beats_chance_at_its_own_aim() -> None:
    """The largest angle from a document to its nearest chosen one."""

    def gap(name: str) -> float:
        chosen = vectors(build(name, n_documents=8, pool=None).select(state(0, 150)))
        return float((vectors(np.arange(150)) @ chosen.T).max(axis=1).min())

    assert gap("coverage") > gap("random")


def test_equal_texts_are_not_chosen_twice() -> None:
    same = np.ones((6, 2), np.float32) / np.sqrt(2).astype(np.float32)
    assert sorted(k_centre(same, same[:0], 6, 0).tolist()) == list(range(6))


def test_mixed_does_both() -> None:
    found = build("mixed", n_documents=6, coverage=0.5, pool=None).select(state(1, 150, [0]))
    assert sum(26 <= i <= 34 for i in found.tolist()) >= 3
    assert found.max() > 130


@pytest.mark.parametrize(
    ("values", "patience", "goes_on"),
    [
        ([0.5], 1, True),
        ([0.5, 0.6], 1, True),
        ([0.5, 0.502], 1, False),
        ([0.5, 0.6, 0.58], 1, False),
        ([0.5, 0.6, 0.58], 2, True),
        ([0.5, 0.6, 0.58, 0.601], 2, False),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, False),  # five cycles were all
    ],
)
def test_labelling_stops_where_the_curve_is_flat(values: list[float], patience: int, goes_on: bool) -> None:
    curriculum = build("random", cycles=5, patience=patience)
    assert curriculum.keep_going([CycleResult(i, v, 10) for i, v in enumerate(values)]) is goes_on


@pytest.mark.parametrize("name", NAMES)
def test_values_that_make_no_sense_are_refused(name: str) -> None:
    for keys in ({"n_documents": 0}, {"cycles": 0}, {"pool": 0}, {"flat": -0.1}, {"patience": 0}):
        with pytest.raises(RecipeError, match="curriculum"):
            build(name, **keys)
    with pytest.raises(RecipeError, match="coverage"):
        build("mixed", coverage=1.5)
