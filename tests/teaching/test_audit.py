"""The figures of an audit, against hand-made cases, scikit-learn, and what must hold of any verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.gold import Gold
from lmteach.errors import LmteachError
from lmteach.teaching.annotations import AnnotationRule
from lmteach.teaching.audit import Verdicts, by_rank, compare_teachers, look_over, vote
from lmteach.teaching.audit_depth import by_depth, recommend_depth
from lmteach.teaching.audit_gold import compare_with_gold
from lmteach.teaching.audit_intervals import draws, pooled_auc_interval
from lmteach.teaching.audit_labels import by_label, find_disputes, overused, underused

YES_ABOVE_0 = AnnotationRule("threshold", 0.0)


def gold_of(rows: list[list[int]]) -> Gold:
    sizes = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Gold(sizes, np.array([i for row in rows for i in sorted(row)], dtype=np.int64))


def made(
    ids: Any,
    scores: Any,
    gold: list[list[int]] | None = None,
    rule: AnnotationRule = YES_ABOVE_0,
    judged: Any = None,
) -> Verdicts:
    ids_nk, scores_nk = np.asarray(ids, dtype=np.int32), np.asarray(scores, dtype=np.float32)
    judged_nk = ids_nk >= 0 if judged is None else np.asarray(judged, dtype=bool)
    votes = vote(scores_nk, ids_nk, judged_nk, rule)
    return Verdicts(ids_nk, scores_nk, judged_nk, votes, None if gold is None else gold_of(gold))


def drawn(seed: int, n: int = 60, k: int = 6, n_labels: int = 15, unread: float = 0.1) -> Verdicts:
    """Verdicts of a teacher that is right more often than not; some documents have no gold."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(n_labels, size=k, replace=False) for _ in range(n)])
    gold = [sorted(rng.choice(n_labels, size=rng.integers(0, 4), replace=False).tolist()) for _ in range(n)]
    right = np.array([[i in row for i in own] for own, row in zip(ids, gold, strict=True)])
    scores = np.where(right, 0.8, -0.8) + rng.normal(size=ids.shape)
    return made(ids, np.where(rng.random(ids.shape) < unread, np.nan, scores), gold)


NAN = float("nan")
SMALL = made(
    [[0, 1, 2], [3, 1, 0], [2, 0, -1]],
    [[2.0, -1.0, NAN], [-0.5, 1.5, -2.0], [0.5, -0.1, NAN]],
    [[0, 4], [3], [0]],
)


def test_counts_of_a_small_case() -> None:
    found = look_over(SMALL, resamples=50)
    assert (found.n_documents, found.n_pairs, found.n_unread, found.n_without) == (3, 8, 1, 0)
    assert found.unread_rate == 1 / 8
    assert found.yes_rate.mean == pytest.approx(3 / 7)


def test_places_of_a_small_case() -> None:
    first, second, third = by_rank(SMALL)
    assert (first.yes.n_yes, first.yes.n_read, first.yes.n_unread) == (2, 3, 0)
    assert (first.gold, first.precision) == (pytest.approx(2 / 3), 0.5)
    assert (second.yes.n_yes, second.gold, second.precision) == (1, pytest.approx(1 / 3), 0.0)
    assert (third.yes.n_yes, third.yes.n_read, third.yes.n_unread) == (0, 1, 1), "nobody was asked in row 2"
    assert third.precision is None
    assert third.mean_score == -2.0


def test_gold_of_a_small_case() -> None:
    found = compare_with_gold(SMALL, resamples=50)
    assert found is not None
    assert found.accuracy.mean == pytest.approx(3 / 7)
    assert found.precision.mean == pytest.approx(1 / 3)
    assert found.recall.mean == pytest.approx(1 / 3), "of the three gold labels among the candidates"
    assert found.candidates_recall.mean == pytest.approx(3 / 4), (
        "label 4 is no candidate of the first document"
    )
    assert found.p1.mean == pytest.approx(1 / 3)
    assert found.student_p1.mean == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_gold_against_scikit_learn(seed: int) -> None:
    from sklearn import metrics

    verdicts = drawn(seed)
    found = compare_with_gold(verdicts, resamples=200)
    assert found is not None
    assert verdicts.gold is not None
    scored = verdicts.read_nk & (np.diff(verdicts.gold.indptr) > 0)[:, None]
    yes, right = verdicts.votes_nk[scored] == 1, verdicts.right_nk[scored]
    assert found.accuracy.mean == pytest.approx(metrics.accuracy_score(right, yes))
    assert found.precision.mean == pytest.approx(metrics.precision_score(right, yes))
    assert found.recall.mean == pytest.approx(metrics.recall_score(right, yes))
    assert found.kappa.mean == pytest.approx(metrics.cohen_kappa_score(right, yes))
    assert found.auc.mean == pytest.approx(metrics.roc_auc_score(right, verdicts.scores_nk[scored]))
    for interval in vars(found).values():
        assert interval.low <= interval.mean <= interval.high
    assert found.kappa.high - found.kappa.low > 0.02


def test_the_auc_of_a_resample_is_that_of_its_documents() -> None:
    from sklearn import metrics

    verdicts = drawn(3, n=24, unread=0)
    scores = np.round(verdicts.scores_nk.astype(np.float64), 1)  # ties
    interval = pooled_auc_interval(scores, verdicts.right_nk, verdicts.read_nk, 40, 7)
    (weights,) = list(draws(24, 40, 7))
    areas = []
    for row in weights:
        rows = np.repeat(np.arange(24), row.astype(int))
        assert len(rows) == 24
        areas.append(metrics.roc_auc_score(verdicts.right_nk[rows].ravel(), scores[rows].ravel()))
    low, high = np.nanquantile(areas, [0.025, 0.975])
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_intervals_are_over_documents_not_pairs() -> None:
    # Ten documents whose six pairs are all right or all wrong: no more to know than from ten throws.
    right = np.arange(10) % 2 == 0
    ids = np.tile(np.arange(6), (10, 1))
    scores = np.where(right[:, None], 1.0, -1.0) * np.ones((10, 6))
    found = compare_with_gold(made(ids, scores, [[0, 1, 2, 3, 4, 5]] * 10), resamples=1000)
    assert found is not None
    assert found.recall.mean == 0.5
    assert found.recall.high - found.recall.low > 0.5


def test_nothing_to_hold_against_gold() -> None:
    assert compare_with_gold(made([[0, 1]], [[NAN, NAN]], [[0]])) is None
    assert compare_with_gold(made([[0, 1]], [[1, 1]], [[]])) is None
    only_no = compare_with_gold(made([[0, 1], [0, 1]], [[-1, -2], [-1, -3]], [[0], [0]]), resamples=20)
    assert only_no is not None
    assert np.isnan(only_no.precision.mean)
    assert only_no.recall.mean == 0
    with pytest.raises(LmteachError, match="no gold labels"):
        compare_with_gold(made([[0, 1]], [[1, 1]]))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (AnnotationRule("threshold", 1.0), [[1, 0, -1], [0, 1, 0], [0, 0, -1]]),
        (AnnotationRule("quantile", quantile=0.5), [[1, 0, -1], [0, 1, 0], [1, 0, -1]]),
        (AnnotationRule("top", keep=0.7), [[1, 0, -1], [0, 1, 0], [0, 0, -1]]),
    ],
)
def test_votes_follow_the_annotation_rule(rule: AnnotationRule, said: list[list[int]]) -> None:
    assert vote(SMALL.scores_nk, SMALL.label_ids_nk, SMALL.judged_nk, rule).tolist() == said


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_order_of_documents_does_not_matter(seed: int, shuffle: int) -> None:
    verdicts = drawn(seed, n=20)
    order = np.random.default_rng(shuffle).permutation(20)
    assert verdicts.gold is not None
    other = Verdicts(
        verdicts.label_ids_nk[order],
        verdicts.scores_nk[order],
        verdicts.judged_nk[order],
        verdicts.votes_nk[order],
        verdicts.gold.take(order),
    )
    a, b = (compare_with_gold(v, resamples=10) for v in (verdicts, other))
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        for name, value in vars(a).items():
            assert getattr(b, name).mean == pytest.approx(value.mean, nan_ok=True)
    assert by_label(verdicts) == by_label(other)
    assert [row.found.mean for row in by_depth(verdicts, resamples=5)] == pytest.approx(
        [row.found.mean for row in by_depth(other, resamples=5)], nan_ok=True
    )


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_depths_add_up(seed: int) -> None:
    rows = by_depth(drawn(seed, n=15), resamples=5)
    assert [row.k for row in rows] == [1, 2, 3, 4, 5, 6]
    n_right = [row.n_right for row in rows]
    assert n_right == sorted(n_right)  # type: ignore[type-var]
    assert all(row.n_right <= row.n_positives for row in rows if row.n_right is not None)
    assert sum(row.marginal * 15 for row in rows) == pytest.approx(n_right[-1])
    k = recommend_depth(rows)
    assert (k is None) == (not n_right[-1])
    assert k is None or k == 1 or rows[k - 2].found.mean < 0.9


def test_labels_of_a_small_case() -> None:
    verdicts = made([[0, 1], [0, 2], [0, 1]], [[1.0, -1.0], [1.0, -1.0], [1.0, NAN]], [[1], [0, 2], [2]])
    uses = {use.label_id: (use.n_read, use.n_yes, use.expected) for use in by_label(verdicts)}
    assert uses == {0: (3, 3, 1), 1: (1, 0, 1), 2: (1, 0, 1)}
    assert [use.label_id for use in overused(by_label(verdicts))] == [0]
    assert [use.label_id for use in underused(by_label(verdicts))] == [1, 2]
    blind = by_label(made([[0, 1], [0, 2]], [[1.0, -1.0], [1.0, 1.0]]))
    assert [use.expected for use in blind] == pytest.approx([1.5, 0.75, 0.75])
    assert by_label(made([[0, 1]], [[NAN, NAN]])) == []


def test_disputes_come_worst_first_and_by_kind() -> None:
    verdicts = made(
        [[0, 1], [0, 1], [0, 1], [0, 1]],
        [[3.0, 2.0], [1.0, -1.0], [-4.0, 5.0], [-2.0, -3.0]],
        [[], [], [0, 1], [0]],
    )
    other = made([[0, 1]] * 4, [[3.0, 2.0], [-9.0, -1.0], [-4.0, 5.0], [-2.0, -3.0]])
    found = find_disputes(verdicts, [("other", other)], n=20)
    assert [(d.kind, d.row, d.place) for d in found] == [
        ("yes, not gold", 0, 0),
        ("yes, not gold", 1, 0),
        ("gold, not yes", 2, 0),
        ("gold, not yes", 3, 0),
        ("teachers differ", 1, 0),
    ]
    assert (found[-1].other, found[-1].score, found[-1].other_score) == ("other", 1.0, -9.0)
    three = find_disputes(verdicts, [("other", other)], n=3)
    assert [d.kind for d in three] == ["yes, not gold", "gold, not yes", "teachers differ"]
    assert find_disputes(verdicts, n=0) == []


def test_two_teachers() -> None:
    other = made(
        [[0, 1, 2], [3, 1, 0], [2, 0, -1]],
        [[1, 1, 1], [NAN, 1, 1], [NAN] * 3],
        judged=[[1] * 3, [1] * 3, [0] * 3],
    )
    found = compare_teachers(SMALL, other, "always")
    assert found is not None
    assert (found.n_pairs, found.agreed.n_yes, found.agreed.n_read, found.agreed.n_unread) == (6, 2, 4, 2)
    assert (found.yes.n_yes, found.other_yes.n_yes) == (2, 5)
    nobody = made(SMALL.label_ids_nk, SMALL.scores_nk, judged=np.zeros((3, 3)))
    assert compare_teachers(SMALL, nobody, "nobody") is None
    with pytest.raises(LmteachError, match="same candidates"):
        compare_teachers(SMALL, made([[9, 1, 2], [3, 1, 0], [2, 0, -1]], SMALL.scores_nk), "other")


def depth_case(yes_by_place: list[int], n: int = 100) -> list[Any]:
    """Shortlists where so many of n documents have a positive at each place."""
    k = len(yes_by_place)
    scores = np.full((n, k), -1.0)
    for place, count in enumerate(yes_by_place):
        scores[:count, place] = 1.0
    return by_depth(made(np.tile(np.arange(k), (n, 1)), scores), resamples=10)


@pytest.mark.parametrize(
    ("yes_by_place", "k"),
    [
        ([60, 30, 10, 0, 0, 0], 2),  # 90% of 100 lie within two
        ([60, 29, 11, 0, 0, 0], 3),
        ([50] * 10, 9),  # no end in sight: nine of ten
        ([30, 20, 10] + [3] * 17, 4),  # 90% lies at 17, yet a judgement brings 0.03 from the fifth place on
        ([4, 0, 0, 0], 1),  # never worth it: the least there is
        ([0, 0, 0], None),
    ],
)
def test_the_recommended_depth(yes_by_place: list[int], k: int | None) -> None:
    assert recommend_depth(depth_case(yes_by_place)) == k


def test_depth_counts_only_right_positives_where_there_is_gold() -> None:
    ids = np.tile(np.arange(4), (10, 1))
    found = by_depth(made(ids, np.ones((10, 4)), [[0]] * 10), resamples=10)
    assert [row.found.mean for row in found] == [1, 1, 1, 1]
    assert [row.n_positives for row in found] == [10, 20, 30, 40]
    assert [row.marginal for row in found] == [1, 0, 0, 0]
    assert recommend_depth(found) == 1
