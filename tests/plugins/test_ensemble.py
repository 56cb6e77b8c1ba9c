"""The ensemble: its arithmetic against numpy, at the edges too, and where its costs are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import TeacherError
from lmteach.teaching.annotator import annotate
from lmteach.teaching.cost import Budget, Counters
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.types import Judgement, Usage, Verdict
from lmteach_plugins.teachers.ensemble import EnsembleTeacher, standardise

Scores = list[float | None]
scores = st.one_of(st.none(), st.floats(-100, 100))


class Fixed:
    """Gives the scores it was built with, whatever is asked."""

    Config, scope = object, "pair"

    def __init__(self, given: Scores, details: Mapping[str, float] | None = None) -> None:
        self.given, self.details, self.closed = given, details or {}, 0
        self.identity = f"fixed {given}"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        return [
            Verdict(
                tuple(self.given[: len(j.candidates)]), usage=Usage(3, 1, 0.5, 0.25), details=self.details
            )
            for j in batch
        ]

    def close(self) -> None:
        self.closed += 1


def ensemble(rows: list[Scores], **keys: Any) -> EnsembleTeacher:
    members: list[dict[str, Any]] = [{"name": "fixed", "row": row} for row in rows]
    resources = TeacherResources(lambda section: Fixed(section["row"], {"consistency": 0.5}))
    return EnsembleTeacher(EnsembleTeacher.Config(members=members, **keys), resources)


def ask(n: int, student: Sequence[float] = ()) -> Judgement:
    return Judgement("d", tuple(f"c{j}" for j in range(n)), "id", student_scores=tuple(student))


@given(st.lists(scores, max_size=9))
def test_standardise(row: Scores) -> None:
    found = standardise(row)
    known = np.array([s for s in row if s is not None])
    assert [z is None for z in found] == [s is None for s in row]
    z = np.array([z for z in found if z is not None])
    assert np.isfinite(z).all()
    if len(known) and known.std() > 1e-6:
        assert z == pytest.approx((known - known.mean()) / known.std(), abs=1e-6)
    elif len(known) and np.ptp(known) == 0:
        assert not z.any()


@given(st.integers(1, 6), st.data())
def test_the_sum_is_that_of_weighted_z_scores(n: int, data: st.DataObject) -> None:
    row = st.lists(scores, min_size=n, max_size=n)
    rows = [data.draw(row), data.draw(row)]
    student = data.draw(st.lists(st.floats(-1, 1), min_size=n, max_size=n))
    teacher = ensemble(rows, weights=[2.0, -0.5], student_weight=0.25)
    (verdict,) = teacher.judge([ask(n, student)])
    z = [[s or 0.0 for s in standardise(r)] for r in (*rows, list(student))]
    for j in range(n):
        if rows[0][j] is None and rows[1][j] is None:
            assert verdict.scores[j] is None, "the student alone is no teacher"
        else:
            assert verdict.scores[j] == pytest.approx(2.0 * z[0][j] - 0.5 * z[1][j] + 0.25 * z[2][j])


def test_raw_scores_may_be_added() -> None:
    teacher = ensemble([[1.0, None, 3.0], [10.0, 20.0, None]], standardise="none", weights=[1.0, 0.1])
    (verdict,) = teacher.judge([ask(3)])
    assert verdict.scores == pytest.approx((2.0, 2.0, 3.0))


def test_costs_add_up_and_details_stay_apart() -> None:
    (verdict,) = ensemble([[1.0, 2.0], [2.0, 1.0]]).judge([ask(2)])
    assert verdict.usage == Usage(6, 2, 1.0, 0.5)
    assert verdict.details == {"consistency_0": 0.5, "consistency_1": 0.5}


@pytest.mark.parametrize("student", [(), (0.5,)])
def test_a_weighted_student_must_have_scores(student: tuple[float, ...]) -> None:
    with pytest.raises(TeacherError, match=r"document id: .*student_weight wants the student's scores"):
        ensemble([[1.0, 2.0]], student_weight=1.0).judge([ask(2, student)])
    assert ensemble([[1.0, 2.0]]).judge([ask(2)])[0].scores == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"members": []}, "needs members"),
        ({"weights": [1.0]}, "1 weights for 2 members"),
        ({"weights": [0.0, 0.0]}, "not all 0"),
        ({"weights": [1.0, float("nan")]}, "finite"),
        ({"standardise": "corpus"}, "no 'corpus'"),
    ],
)
def test_senseless_keys_are_refused(keys: dict[str, Any], said: str) -> None:
    config = EnsembleTeacher.Config(**{"members": [{"row": [1.0]}, {"row": [2.0]}], **keys})
    with pytest.raises(TeacherError, match=said):
        EnsembleTeacher(config, TeacherResources(lambda section: Fixed(section["row"])))


def test_it_closes_its_members() -> None:
    teacher = ensemble([[1.0], [2.0]])
    teacher.close()
    assert [member.closed for member in teacher.members] == [1, 1]  # type: ignore[attr-defined]


def test_members_are_stored_and_counted_one_by_one(tmp_path: Path) -> None:
    """As a run builds it: members and ensemble wrapped, all counting into one object."""
    counters = Counters()
    with Store.open(tmp_path / "s.sqlite") as store:

        def build(section: Mapping[str, Any]) -> Teacher:
            return StoredTeacher(Fixed(section["row"]), store, counters)

        config = EnsembleTeacher.Config(
            members=[{"row": [1.0, 2.0]}, {"row": [4.0, None]}], student_weight=1.0
        )
        whole = StoredTeacher(EnsembleTeacher(config, TeacherResources(build)), store, counters)
        judgements = [Judgement(f"d{i}", ("a", "b"), student_scores=(0.1, 0.2)) for i in range(10)]
        assert whole.n_missing(judgements) == [4] * 10
        first = annotate(whole, judgements, budget=Budget(judgements=20))
        assert (first.counters.made, first.counters.unread) == (20, 5)
        assert first.stopped_by == "budget.judgements = 20"
        assert first.counters.usage.prompt_tokens == 30
        again = annotate(whole, judgements, budget=Budget(judgements=0))
        assert np.array_equal(again.scores_nk, first.scores_nk, equal_nan=True), "what is stored is free"
        assert again.counters.made == 0
        assert [s.verdicts for s in store.stats()] == [10, 10]
