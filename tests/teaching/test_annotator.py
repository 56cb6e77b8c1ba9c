"""The annotator: input order, batches of like length, a budget that stops cleanly and resumes alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.errors import TeacherError
from lmteach.teaching.annotator import annotate, by_length
from lmteach.teaching.cost import Budget, Spent
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.types import Judgement, Usage

Build = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.sqlite") as opened:
        yield opened


def some_judgements(n: int, k: int = 3) -> list[Judgement]:
    return [
        Judgement(f"{i} " + "x" * (i * 7919 % 200), tuple(f"c{i + j}" for j in range(k)), f"d{i}")
        for i in range(n)
    ]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=60),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_verdicts_come_back_in_the_inputs_order(shapes: list[tuple[int, int]], chunk: int | None) -> None:
    def score(document: str, candidate: str) -> float | None:
        n = len(document) + int(candidate)
        return None if n % 5 == 0 else n / 4

    class Scorer:
        Config, scope, identity = object, "none", "scorer"

        def judge(self, batch: Sequence[Judgement]) -> Any:
            from lmteach.types import Verdict

            return [Verdict(tuple(score(j.document, c) for c in j.candidates)) for j in batch]

        def close(self) -> None: ...

    judgements = [Judgement("x" * n, tuple(str(j) for j in range(k))) for n, k in shapes]
    found = annotate(Scorer(), judgements, chunk=chunk)
    width = max((k for _, k in shapes), default=0)
    assert found.scores_nk.shape == found.judged_nk.shape == (len(shapes), width)
    assert found.scores_nk.dtype == np.float32
    for i, judgement in enumerate(judgements):
        for j in range(width):
            asked = j < len(judgement.candidates)
            expected = score(judgement.document, str(j)) if asked else None
            assert found.judged_nk[i, j] == asked
            assert (
                math.isnan(found.scores_nk[i, j]) if expected is None else found.scores_nk[i, j] == expected
            )
    assert found.n_judged == sum(k for _, k in shapes)
    assert found.n_unread == found.counters.unread
    assert found.stopped_by is None


def test_chunks_hold_documents_of_like_length(counting: Build) -> None:
    inner = counting()
    annotate(inner, some_judgements(1600), chunk=100)
    assert inner.batches == [100] * 16
    spread = []
    for start in range(0, 1600, 100):
        lengths = [len(j.document) for j in inner.asked[start : start + 100]]
        spread.append(max(lengths) - min(lengths))
    assert np.mean(spread) < 30, "in the input's order a chunk would spread over 200"


def test_judgements_are_built_on_demand(counting: Build) -> None:
    class Lazy(Sequence[Judgement]):
        built = 0

        def __len__(self) -> int:
            return 1000

        @overload
        def __getitem__(self, i: int) -> Judgement: ...
        @overload
        def __getitem__(self, i: slice) -> Sequence[Judgement]: ...
        def __getitem__(self, i: int | slice) -> Any:
            assert isinstance(i, int)
            Lazy.built += 1
            return Judgement(f"d{i}", ("a",))

    seen = []
    annotate(
        counting(), Lazy(), chunk=10, progress=lambda done, n, counts: seen.append((done, n, Lazy.built))
    )
    assert seen[0] == (10, 1000, 160), "a window at a time, not all at once"
    assert seen[-1] == (1000, 1000, 1000), "and each one once"


def test_progress_reports_what_was_done(counting: Build, store: Store) -> None:
    teacher = StoredTeacher(counting(lambda d, c: None), store)
    annotate(teacher, some_judgements(10))
    seen: list[Mapping[str, float]] = []
    annotate(teacher, some_judgements(20), chunk=20, progress=lambda done, n, counts: seen.append(counts))
    assert [(c["made"], c["from_store"], c["unread"], c["tokens"]) for c in seen] == [(30, 30, 60, 120)]


class TestBudget:
    @pytest.mark.parametrize("cap", [99, 100, 101])
    def test_judgements_are_never_exceeded(self, counting: Build, store: Store, cap: int) -> None:
        inner, budget = counting(), Budget(judgements=cap)
        found = annotate(StoredTeacher(inner, store), some_judgements(60), budget=budget, chunk=7)
        assert len(inner.pairs) == found.counters.made == budget.spent.judgements == 99, (
            "three pairs at a time"
        )
        assert found.stopped_by == f"budget.judgements = {cap}"
        rows = found.judged_nk.any(axis=1)
        assert rows.sum() == 33
        assert np.array_equal(found.judged_nk.all(axis=1), rows)
        assert np.array_equal(np.isnan(found.scores_nk), ~found.judged_nk)

    def test_what_the_store_answers_is_free(self, counting: Build, store: Store) -> None:
        judgements = some_judgements(60)
        first = annotate(StoredTeacher(counting(), store), judgements, budget=Budget(judgements=90), chunk=7)
        inner = counting()
        spent = Spent(judgements=90)
        again = annotate(
            StoredTeacher(inner, store), judgements, budget=Budget(judgements=90, spent=spent), chunk=11
        )
        assert inner.asked == []
        assert np.array_equal(again.scores_nk, first.scores_nk, equal_nan=True), "a resumed run gets the same"
        assert again.stopped_by == "budget.judgements = 90"
        more = annotate(StoredTeacher(inner, store), judgements, budget=Budget(judgements=90), chunk=7)
        assert len(inner.pairs) == 90
        assert more.stopped_by is None

    @pytest.mark.parametrize(
        ("cap", "n_pairs"), [({"tokens": 120 * 12}, 360), ({"usd": 1.0}, 300), ({"hours": 100 / 3600}, None)]
    )
    def test_other_caps_stop_within_a_chunk(
        self, counting: Build, store: Store, cap: dict[str, Any], n_pairs: int | None
    ) -> None:
        inner, budget = counting(), Budget(**cap)  # 12 tokens and a cent a document of three pairs
        found = annotate(StoredTeacher(inner, store), some_judgements(300), budget=budget, chunk=10)
        if n_pairs is None:
            assert found.stopped_by is None
            assert 0 < budget.spent.hours < 100 / 3600
        else:
            assert found.stopped_by == f"budget.{next(iter(cap))} = {next(iter(cap.values()))}"
            assert n_pairs - 3 <= len(inner.pairs) <= n_pairs

    def test_hours_stop(self, counting: Build, store: Store) -> None:
        found = annotate(
            StoredTeacher(counting(), store),
            some_judgements(3000),
            budget=Budget(hours=0.05 / 3600),
            chunk=10,
        )
        assert found.stopped_by == f"budget.hours = {0.05 / 3600}"
        assert 10 <= found.judged_nk.any(axis=1).sum() < 3000

    def test_a_failing_teacher_is_charged_for_what_it_made(self, counting: Build, store: Store) -> None:
        inner = counting(lambda d, c: math.nan if c == "c30" else 1.0)
        budget = Budget(judgements=1000)
        with pytest.raises(TeacherError):
            annotate(StoredTeacher(inner, store), some_judgements(60), budget=budget, chunk=7)
        assert budget.spent.judgements == store.stats()[0].verdicts > 0

    def test_a_stop_is_not_paid_with_one_length_alone(self, counting: Build, store: Store) -> None:
        judgements = some_judgements(2000, k=1)
        found = annotate(
            StoredTeacher(counting(), store), judgements, budget=Budget(judgements=500), chunk=125
        )
        lengths = np.array([len(j.document) for j in judgements])
        judged = lengths[found.judged_nk[:, 0]]
        assert judged.min() < 60 < 140 < judged.max(), "short and long ones alike"


def test_details_are_averaged(counting: Build, store: Store) -> None:
    found = annotate(StoredTeacher(counting(scope="list"), store), some_judgements(10))
    assert found.details == {"consistency": 0.75}


def test_chunks_follow_the_teachers_speed(counting: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    import lmteach.teaching.annotator as module

    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    inner = counting()
    judge = inner.judge

    def slowly(batch: Sequence[Judgement]) -> Any:
        clock[0] += (0.01 if len(inner.asked) < 2000 else 1.0) * len(batch)
        return judge(batch)

    inner.judge = slowly
    annotate(inner, some_judgements(4000))
    assert inner.batches[:4] == [16, 32, 64, 128]
    assert max(inner.batches) >= 512, "a hundred documents a second: ten seconds are a thousand"
    assert inner.batches[-2] <= 16, "one document a second: ten seconds are ten"


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 20), st.integers(0, 5))
def test_by_length_is_a_permutation(lengths: list[int], size: int, seed: int) -> None:
    window = {i: Judgement("x" * n, ()) for i, n in enumerate(lengths)}
    order = by_length(window, size, seed)
    assert sorted(order) == list(range(len(lengths)))
    assert order == by_length(window, size, seed)


def test_an_ensembles_usage_is_that_of_its_members(counting: Build, store: Store) -> None:
    member = StoredTeacher(counting(usage=Usage(10)), store)

    class Wrap:
        Config, scope, identity = object, "none", "wrap"
        members = (member,)

        def judge(self, batch: Sequence[Judgement]) -> Any:
            return member.judge(batch)

        def n_missing(self, batch: Sequence[Judgement]) -> list[int]:
            return member.n_missing(batch)

        def close(self) -> None: ...

    whole = StoredTeacher(Wrap(), store, member.counters)
    found = annotate(whole, some_judgements(20), budget=Budget(judgements=30))
    assert found.counters.made == 30
    assert found.counters.usage.prompt_tokens == 100
