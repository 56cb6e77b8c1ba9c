"""From verdicts to positives: each rule against its definition, and no answer lost from the count."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lmteach.errors import RecipeError, RunError
from lmteach.recipe.schema import AnnotationSection
from lmteach.teaching.annotations import AnnotationRule, Annotations, choose_positives

shapes = st.tuples(st.integers(0, 12), st.integers(0, 6))
scores = st.one_of(st.just(math.nan), st.integers(-4, 4).map(float), st.floats(-50, 50, width=32))


@st.composite
def verdicts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(shapes)
    scores_nk = draw(hnp.arrays(np.float32, shape, elements=scores))
    judged_nk = draw(hnp.arrays(np.bool_, shape))
    scores_nk = np.where(judged_nk, scores_nk, np.float32(np.nan)).astype(np.float32)
    ids_nk = np.array(
        [draw(st.permutations(range(20)))[: shape[1]] for _ in range(shape[0])], dtype=np.int64
    ).reshape(shape)
    return scores_nk, ids_nk, judged_nk


def pairs(found: Annotations) -> set[tuple[int, int]]:
    return {(i, int(label)) for i in range(len(found)) for label in found.of(i)}


@given(verdicts(), st.floats(-5, 5))
def test_threshold_is_strictly_above(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float
) -> None:
    scores_nk, ids_nk, judged_nk = given_
    found = choose_positives(*given_, AnnotationRule(threshold=threshold))
    assert pairs(found) == {
        (i, int(ids_nk[i, j]))
        for i, j in np.ndindex(*scores_nk.shape)
        if judged_nk[i, j] and float(scores_nk[i, j]) > threshold
    }
    assert found.counts.cutoff == threshold


@given(verdicts(), st.floats(0, 0.99))
def test_quantile_keeps_its_share(given_: tuple[np.ndarray, np.ndarray, np.ndarray], quantile: float) -> None:
    scores_nk = given_[0]
    found = choose_positives(*given_, AnnotationRule("quantile", quantile=quantile))
    read = np.sort(scores_nk[~np.isnan(scores_nk)].astype(np.float64))
    assert found.counts.n_positives == (read > found.counts.cutoff).sum()
    if len(np.unique(read)) == len(read) > 0:
        assert abs(found.counts.n_positives - (1 - quantile) * len(read)) <= 1


@given(verdicts(), st.floats(0.01, 1))
def test_top_keeps_the_surest_documents(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray], keep: float
) -> None:
    scores_nk, ids_nk, _ = given_
    found = choose_positives(*given_, AnnotationRule("top", keep=keep))
    leads = {}
    for i, row in enumerate(scores_nk.astype(np.float64)):
        known = np.sort(row[~np.isnan(row)])[::-1]
        if len(known):
            leads[i] = known[0] - known[1] if len(known) > 1 else 0.0
    kept = found.with_positives.tolist()
    assert len(kept) == (max(1, math.floor(keep * len(leads) + 0.5)) if leads else 0)
    for i in kept:
        (label,) = found.of(i)
        j = ids_nk[i].tolist().index(label)
        assert scores_nk[i, j] == np.nanmax(scores_nk[i])
    if kept:
        assert found.counts.cutoff == min(leads[i] for i in kept)
        assert all(lead <= found.counts.cutoff for i, lead in leads.items() if i not in kept)


@given(verdicts(), st.sampled_from(["threshold", "quantile", "top"]), st.booleans())
def test_nothing_is_lost_from_the_count(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray], rule: str, weighted: bool
) -> None:
    scores_nk, _, judged_nk = given_
    found = choose_positives(*given_, AnnotationRule(rule), weighted=weighted)  # type: ignore[arg-type]
    c = found.counts
    assert len(found) == c.n_documents == len(scores_nk)
    assert c.n_unjudged + c.n_without + len(found.with_positives) == c.n_documents
    assert c.n_answers == judged_nk.sum()
    assert c.n_answers - c.n_unread == (~np.isnan(scores_nk)).sum()
    assert len(found.label_ids) == len(found.weights) == found.indptr[-1] == c.n_positives
    assert all((np.diff(found.of(i)) > 0).all() for i in range(len(found))), "ascending, so searchable"
    assert np.isfinite(found.weights).all()
    assert ((found.weights >= 0) & (found.weights <= 1)).all()


def test_weights_belong_to_their_labels() -> None:
    scores_nk = np.array([[2.0, 0.5, -1.0], [np.nan, 1.0, 3.0]], dtype=np.float32)
    ids_nk = np.array([[9, 4, 7], [1, 8, 2]])
    found = choose_positives(scores_nk, ids_nk, np.ones((2, 3), dtype=bool), AnnotationRule(), weighted=True)
    assert found.label_ids.tolist() == [4, 9, 2, 8]
    assert found.weights == pytest.approx([1 / (1 + math.exp(-s)) for s in (0.5, 2.0, 3.0, 1.0)])
    assert found.counts.n_unread == 1
    assert found.counts.yes_rate == pytest.approx(4 / 5)


def test_a_row_with_unread_answers_still_has_a_best() -> None:
    scores_nk = np.array([[np.nan, -3.0], [-1.0, -1.0], [5.0, 1.0]], dtype=np.float32)
    ids_nk = np.arange(6).reshape(3, 2)
    found = choose_positives(scores_nk, ids_nk, np.ones((3, 2), dtype=bool), AnnotationRule("top", keep=0.34))
    assert pairs(found) == {(2, 4)}, "a lone score leads by nothing, so the real lead comes first"


def test_saved_and_loaded(tmp_path: Path) -> None:
    scores_nk = np.array([[2.0, -1.0]], dtype=np.float32)
    found = choose_positives(scores_nk, np.array([[3, 5]]), np.ones((1, 2), dtype=bool), AnnotationRule())
    found.save(tmp_path / "annotations.npz")
    again = Annotations.load(tmp_path / "annotations.npz")
    assert again.counts == found.counts
    assert again.of(0).tolist() == [3]
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.npz"]
    (tmp_path / "annotations.npz").write_bytes(b"PK broken")
    with pytest.raises(RunError, match=r"annotations\.npz: The annotations cannot be read"):
        Annotations.load(tmp_path / "annotations.npz")
    with pytest.raises(RunError):
        Annotations.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"rule": "best"}, "annotation.rule"),
        ({"threshold": math.nan}, "annotation.threshold"),
        ({"quantile": 1.0}, "annotation.quantile"),
        ({"keep": 0.0}, "annotation.keep"),
    ],
)
def test_senseless_rules_are_refused(keys: dict[str, object], where: str) -> None:
    with pytest.raises(RecipeError, match=where):
        choose_positives(
            np.zeros((1, 1), np.float32),
            np.zeros((1, 1), np.int64),
            np.ones((1, 1), bool),
            AnnotationRule(**keys),  # type: ignore[arg-type]
        )


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes"):
        choose_positives(
            np.zeros((2, 3), np.float32), np.zeros((2, 2), np.int64), np.ones((2, 3), bool), AnnotationRule()
        )


def test_the_rule_has_the_recipes_keys_and_defaults() -> None:
    section = AnnotationSection()
    assert {k: getattr(section, k) for k in vars(AnnotationRule())} == vars(AnnotationRule())
