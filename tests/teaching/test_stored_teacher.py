"""A teacher with a store asks for each pair once, keeps what is sound and says what is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmteach.errors import TeacherError
from lmteach.teaching.cost import Counters
from lmteach.teaching.protocol import PartialVerdictsError, Teacher
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher, narrow
from lmteach.types import Judgement, Usage, Verdict

Build = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.sqlite", run="test") as opened:
        yield opened


def test_it_is_a_teacher(counting: Build, store: Store) -> None:
    assert isinstance(StoredTeacher(counting(), store), Teacher)


def test_only_missing_candidates_are_asked_with_what_belongs_to_them(counting: Build, store: Store) -> None:
    inner = counting()
    teacher = StoredTeacher(inner, store)
    teacher.judge([Judgement("d", ("a", "b"))])
    full = Judgement("d", ("c", "b", "e", "a"), "id", "title", (3, 2, 5, 1), (0.3, 0.2, 0.5, 0.1))
    (verdict,) = teacher.judge([full])
    assert inner.asked[1] == Judgement("d", ("c", "e"), "id", "title", (3, 5), (0.3, 0.5))
    assert verdict.scores == tuple(inner.score("d", c) for c in "cbea")
    assert verdict.raw == ("raw c", "raw b", "raw e", "raw a")
    assert (teacher.counters.made, teacher.counters.from_store) == (4, 2)


batches = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["d1", "d2", "d3"]), st.lists(st.sampled_from("abcde"), max_size=5)),
        max_size=4,
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches)
def test_each_pair_is_judged_once_and_order_is_kept(
    counting: Build, tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, list[str]]]]
) -> None:
    inner = counting()
    with Store.open(tmp_path_factory.mktemp("s") / "s.sqlite") as store:
        teacher = StoredTeacher(inner, store)
        spent, n_pairs, all_pairs = Usage(), 0, set()
        for batch in batches:
            judgements = [Judgement(d, tuple(cs)) for d, cs in batch]
            n_missing, made_before = sum(teacher.n_missing(judgements)), teacher.counters.made
            verdicts = teacher.judge(judgements)
            assert teacher.counters.made - made_before == n_missing
            for judgement, verdict in zip(judgements, verdicts, strict=True):
                expected = [inner.score(judgement.document, c) for c in judgement.candidates]
                assert list(verdict.scores) == expected
                spent += verdict.usage
                n_pairs += len(expected)
                all_pairs |= {(judgement.document, c) for c in judgement.candidates}
    assert sorted(inner.pairs) == sorted(all_pairs), "every pair, and none twice"
    assert teacher.counters.made == len(all_pairs)
    assert teacher.counters.from_store == n_pairs - len(all_pairs)
    assert spent.prompt_tokens == teacher.counters.usage.prompt_tokens == 10 * len(inner.asked)


def test_peeking_shows_whole_verdicts_and_counts_nothing(counting: Build, store: Store) -> None:
    teacher = StoredTeacher(counting(), store)
    (said,) = teacher.judge([Judgement("d", ("a", "b"))])
    before = teacher.counters.copy()
    whole, part, none = teacher.peek(
        [Judgement("d", ("b",)), Judgement("d", ("a", "c")), Judgement("e", ("a",))]
    )
    assert whole is not None
    assert whole.scores == said.scores[1:]
    assert part is none is None
    assert teacher.counters == before


def test_another_process_or_run_finds_the_answers(counting: Build, store: Store, tmp_path: Path) -> None:
    StoredTeacher(counting(), store).judge([Judgement("d", ("a", "b"))])
    with Store.open(tmp_path / "s.sqlite", run="another") as again:
        inner = counting()
        (verdict,) = StoredTeacher(inner, again).judge([Judgement("d", ("b", "a"))])
        assert inner.asked == []
        assert verdict.scores == (inner.score("d", "b"), inner.score("d", "a"))
        assert verdict.usage == Usage(), "what the store answers costs nothing"
        other = counting(identity="another prompt")
        StoredTeacher(other, again).judge([Judgement("d", ("a",))])
        assert len(other.asked) == 1


def test_unread_answers_are_kept_counted_and_not_asked_again(counting: Build, store: Store) -> None:
    inner = counting(lambda d, c: None if c == "b" else 1.0)
    teacher = StoredTeacher(inner, store)
    for _ in range(2):
        (verdict,) = teacher.judge([Judgement("d", ("a", "b"))])
        assert verdict.scores == (1.0, None)
    assert len(inner.asked) == 1
    assert (teacher.counters.made, teacher.counters.from_store, teacher.counters.unread) == (2, 2, 2)
    store.prune(unread=True)
    teacher.judge([Judgement("d", ("a", "b"))])
    assert inner.asked[1].candidates == ("b",)


class TestLists:
    def test_lists_are_kept_whole(self, counting: Build, store: Store) -> None:
        inner = counting(scope="list")
        teacher = StoredTeacher(inner, store)
        first, second = Judgement("d", ("a", "b", "a")), Judgement("d", ("b", "a"))
        made = teacher.judge([first, second, first])
        assert [j.candidates for j in inner.asked] == [("a", "b", "a"), ("b", "a")]
        again = teacher.judge([second, first])
        assert len(inner.asked) == 2
        assert [v.scores for v in again] == [made[1].scores, made[0].scores]
        assert [v.raw for v in again] == [made[1].raw, made[0].raw]
        assert again[0].details == {"consistency": 0.75}
        assert teacher.n_missing([first, Judgement("d", ("a", "c"))]) == [0, 2]

    def test_one_answer_for_all_candidates(self, store: Store) -> None:
        class One:
            Config, scope, identity = object, "list", "one"

            def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
                return [Verdict((2.0, 1.0, 0.0), ("b > a",)) for _ in batch]

            def close(self) -> None: ...

        judgement = Judgement("d", ("b", "a", "c"))
        (first,) = StoredTeacher(One(), store).judge([judgement])
        (second,) = StoredTeacher(One(), store).judge([judgement])
        assert first.raw == second.raw == ("b > a",)

    def test_a_list_that_is_there_in_part_is_asked_whole(self, counting: Build, store: Store) -> None:
        inner = counting(lambda d, c: None if c == "b" else 1.0, scope="list")
        teacher, judgement = StoredTeacher(inner, store), Judgement("d", ("a", "b", "c"))
        (first,) = teacher.judge([judgement])
        assert store.prune(unread=True) == 1
        assert teacher.peek([judgement]) == [None]
        assert teacher.n_missing([judgement]) == [3]
        (second,) = teacher.judge([judgement])
        assert inner.asked == [judgement, judgement]
        assert second.scores == first.scores == (1.0, None, 1.0)

    def test_a_list_with_a_bad_score_is_not_kept(self, counting: Build, store: Store) -> None:
        inner = counting(lambda d, c: math.nan if (d, c) == ("bad", "b") else 1.0, scope="list")
        with pytest.raises(TeacherError):
            StoredTeacher(inner, store).judge([Judgement("bad", ("a", "b")), Judgement("good", ("a", "b"))])
        assert store.stats()[0].verdicts == 2


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scope", ["pair", "none"])
def test_no_number_is_an_error_that_names_the_place(
    counting: Build, store: Store, score: float, scope: str
) -> None:
    inner = counting(lambda d, c: score if (d, c) == ("two", "b") else 1.0, scope=scope)
    teacher = StoredTeacher(inner, store)
    batch = [
        Judgement("one", ("a", "b"), "1"),
        Judgement("two", ("a", "b", "c"), "2"),
        Judgement("three", ("a",)),
    ]
    with pytest.raises(TeacherError, match=f"document 2: The teacher scored the candidate 'b' {score}"):
        teacher.judge(batch)
    if scope == "pair":
        assert store.stats()[0].verdicts == teacher.counters.made == 5, "the sound answers are kept"
        inner.score = lambda d, c: 2.0
        (verdict,) = teacher.judge(batch[1:2])
        assert verdict.scores == (1.0, 2.0, 1.0)
        assert inner.asked[-1].candidates == ("b",)


class Broken:
    """Answers as it is told."""

    Config, identity = object, "broken"

    def __init__(self, answer: Callable[[Sequence[Judgement]], Any], scope: str = "pair") -> None:
        self.answer, self.scope = answer, scope

    def judge(self, batch: Sequence[Judgement]) -> Any:
        return self.answer(batch)

    def close(self) -> None: ...


@pytest.mark.parametrize("scope", ["pair", "list", "none"])
def test_wrong_numbers_of_answers(store: Store, scope: str) -> None:
    batch = [Judgement("one", ("a", "b"), "1"), Judgement("two", ("a", "b"), "2")]
    short = Broken(lambda b: [Verdict((1.0, 1.0))], scope)
    with pytest.raises(TeacherError, match="1 verdicts for 2 judgements"):
        StoredTeacher(short, store).judge(batch)
    thin = Broken(lambda b: [Verdict((1.0, 1.0)), Verdict((1.0,))], scope)
    with pytest.raises(TeacherError, match="document 2: The teacher gave 1 scores for 2 candidates"):
        StoredTeacher(thin, store).judge(batch)
    missing = Broken(lambda b: [*(Verdict((1.0, 1.0)) for _ in b[:-1]), None], scope)
    with pytest.raises(TeacherError, match="without a verdict"):
        StoredTeacher(missing, store).judge(batch)


def test_a_batch_that_breaks_off_keeps_what_was_answered(store: Store) -> None:
    def answer(batch: Sequence[Judgement]) -> Any:
        raise PartialVerdictsError("the server went away", [Verdict((1.0, 2.0)), None])

    teacher = StoredTeacher(Broken(answer), store)
    with pytest.raises(PartialVerdictsError, match="the server went away"):
        teacher.judge([Judgement("one", ("a", "b")), Judgement("two", ("a", "b"))])
    assert store.stats()[0].verdicts == teacher.counters.made == 2


def test_time_is_measured_where_the_teacher_does_not(store: Store) -> None:
    def answer(batch: Sequence[Judgement]) -> list[Verdict]:
        import time

        time.sleep(0.05)
        return [Verdict((1.0,) * len(j.candidates)) for j in batch]

    one, two = StoredTeacher(Broken(answer), store).judge(
        [Judgement("one", ("a",)), Judgement("two", ("a", "b", "c"))]
    )
    assert one.usage.seconds + two.usage.seconds == pytest.approx(0.05, rel=0.5)
    assert two.usage.seconds == pytest.approx(3 * one.usage.seconds)


def test_scope_none_is_passed_through_and_counted(counting: Build, store: Store) -> None:
    inner, counters = counting(scope="none"), Counters()
    teacher = StoredTeacher(inner, store, counters)
    for _ in range(2):
        teacher.judge([Judgement("d", ("a", "b"))])
    assert len(inner.asked) == 2
    assert store.stats() == []
    assert counters.made == 4
    inner.members = (counting(),)
    teacher.judge([Judgement("d", ("a", "b"))])
    assert counters.made == 4, "a teacher made of members does not count, they do"


@given(st.sets(st.integers(0, 4)))
def test_narrow_keeps_parallels_parallel(places: set[int]) -> None:
    full = Judgement("d", tuple("abcde"), label_ids=(0, 1, 2, 3, 4), student_scores=(0.0, 0.1, 0.2, 0.3, 0.4))
    part = narrow(full, sorted(places))
    assert part.candidates == tuple("abcde"[i] for i in sorted(places))
    assert part.label_ids == tuple(sorted(places))
    assert part.student_scores == tuple(i / 10 for i in sorted(places)) or len(places) == 5
