"""The cascade: who is asked about what, and what stands in the end."""

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
from lmteach_plugins.teachers.cascade import CascadeTeacher

scores = st.one_of(st.none(), st.floats(-3, 3))


class Table:
    """Scores by candidate; remembers what it was asked."""

    Config, scope = object, "pair"

    def __init__(self, name: str, table: Mapping[str, float | None]) -> None:
        self.identity, self.table = name, table
        self.asked: list[Judgement] = []

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        self.asked += batch
        return [
            Verdict(tuple(self.table[c] for c in j.candidates), usage=Usage(len(j.candidates))) for j in batch
        ]

    def close(self) -> None: ...


def cascade(
    cheap: Mapping[str, float | None], strong: Mapping[str, float | None], band: float
) -> CascadeTeacher:
    tables = {"cheap": cheap, "strong": strong}
    resources = TeacherResources(lambda section: Table(section["name"], tables[section["name"]]))
    return CascadeTeacher(CascadeTeacher.Config({"name": "cheap"}, {"name": "strong"}, band), resources)


@given(st.lists(st.tuples(scores, scores), max_size=6), st.floats(0, 3))
def test_the_strong_teacher_speaks_where_the_cheap_one_is_unsure(
    pairs: list[tuple[float | None, float | None]], band: float
) -> None:
    names = [f"c{j}" for j in range(len(pairs))]
    teacher = cascade(
        {n: c for n, (c, _) in zip(names, pairs, strict=True)},
        {n: s for n, (_, s) in zip(names, pairs, strict=True)},
        band,
    )
    ids, student = tuple(range(len(pairs))), tuple(0.5 for _ in pairs)
    (verdict,) = teacher.judge([Judgement("d", tuple(names), "id", label_ids=ids, student_scores=student)])
    unsure = [j for j, (c, _) in enumerate(pairs) if c is None or abs(c) < band]
    for j, (cheap, strong) in enumerate(pairs):
        assert verdict.scores[j] == (strong if j in unsure and strong is not None else cheap)
    assert verdict.details["passed_on"] == len(unsure)
    assert verdict.details["fell_back"] == sum(pairs[j][1] is None for j in unsure)
    assert verdict.usage.prompt_tokens == len(pairs) + len(unsure)
    strong_asked = teacher.strong.asked  # type: ignore[attr-defined]
    assert [j.candidates for j in strong_asked] == ([tuple(names[j] for j in unsure)] if unsure else [])
    assert all(j.label_ids == tuple(unsure) for j in strong_asked)


def test_answers_go_to_the_document_they_belong_to() -> None:
    teacher = cascade({"a": 0.0, "b": 9.0}, {"a": 2.0, "b": 7.0}, 1.0)
    batch = [
        Judgement("d0", ("b",)),
        Judgement("d1", ("a", "b")),
        Judgement("d2", ("b", "b")),
        Judgement("d3", ("a",)),
    ]
    assert [v.scores for v in teacher.judge(batch)] == [(9.0,), (2.0, 9.0), (9.0, 9.0), (2.0,)]
    assert len(teacher.strong.asked) == 2  # type: ignore[attr-defined]


def test_both_are_stored_and_a_resumed_run_pays_nothing(tmp_path: Path) -> None:
    counters, made = Counters(), []
    tables: dict[str, dict[str, float | None]] = {
        "cheap": {"a": 0.1, "b": 5.0},
        "strong": {"a": 4.0, "b": -4.0},
    }
    with Store.open(tmp_path / "s.sqlite") as store:

        def build(section: Mapping[str, Any]) -> Teacher:
            made.append(Table(section["name"], tables[section["name"]]))
            return StoredTeacher(made[-1], store, counters)

        config = CascadeTeacher.Config({"name": "cheap"}, {"name": "strong"}, 1.0)
        whole = StoredTeacher(CascadeTeacher(config, TeacherResources(build)), store, counters)
        judgements = [Judgement(f"d{i}", ("a", "b")) for i in range(10)]
        assert whole.n_missing(judgements) == [4] * 10, "at most both, before the cheap one has spoken"
        first = annotate(whole, judgements)
        assert (counters.made, counters.from_store) == (30, 0)
        assert first.details == {"passed_on": 1.0, "fell_back": 0.0}
        assert whole.n_missing(judgements) == [0] * 10
        assert counters.from_store == 0, "looking counts nothing"
        again = annotate(whole, judgements, budget=Budget(judgements=0))
        assert again.stopped_by is None
        assert np.array_equal(again.scores_nk, first.scores_nk)
        assert (counters.made, counters.from_store) == (30, 30)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CascadeTeacher.Config({"name": "x"}), r"teacher\.strong"),
        (CascadeTeacher.Config(strong={"name": "x"}), r"teacher\.cheap"),
        (CascadeTeacher.Config({"name": "x"}, {"name": "x"}, -1.0), r"teacher\.band"),
        (CascadeTeacher.Config({"name": "x"}, {"name": "x"}, float("nan")), r"teacher\.band"),
    ],
)
def test_senseless_keys_are_refused(config: CascadeTeacher.Config, said: str) -> None:
    with pytest.raises(TeacherError, match=said):
        CascadeTeacher(config, TeacherResources(lambda section: Table("x", {})))
