"""From shortlists to judgements to pseudo-labels, and the files between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmteach.corpus.documents import Documents
from lmteach.curriculum.cycles import affirmed_share
from lmteach.curriculum.judging import JudgedShortlist, Judgements
from lmteach.curriculum.labelling import pseudo_labels
from lmteach.errors import RunError
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import AnnotationRule, choose_positives
from lmteach.types import Document

DOCUMENTS = Documents.of(
    [Document(f"d{i}", f"text {i}", (i,), title=f"title {i}") for i in range(5)],
)
LABELS = [f"label {i}" for i in range(6)]


def shortlist() -> Shortlist:
    ids = np.array([[5, 0, 2], [1, 4, -1], [3, -1, -1]], dtype=np.int32)
    scores = np.array([[0.9, 0.8, 0.5], [0.7, 0.25, -np.inf], [0.5, -np.inf, -np.inf]], dtype=np.float32)
    return Shortlist(np.array([4, 0, 2]), ids, scores)


def judged(scores: list[list[float]], asked: list[list[bool]] | None = None) -> JudgedShortlist:
    array = np.array(scores, dtype=np.float32)
    mask = np.ones(array.shape, dtype=bool) if asked is None else np.array(asked)
    return JudgedShortlist(np.zeros(array.shape, np.int32), array, mask)


NAN = float("nan")


def test_a_judgement_brings_all_that_is_known() -> None:
    first = Judgements(DOCUMENTS, shortlist(), LABELS, 2)[0]
    assert (first.document, first.document_id, first.title) == ("text 4", "d4", "title 4")
    assert first.candidates == ("label 5", "label 0")
    assert first.label_ids == (5, 0)
    assert first.student_scores == pytest.approx((0.9, 0.8))


def test_a_student_has_no_say_over_its_own_mark() -> None:
    """Blind judgements: an ensemble that counts the student in ranks as its other members do."""
    blind = Judgements(DOCUMENTS, shortlist(), LABELS, 2, blind=True)[0]
    seen = Judgements(DOCUMENTS, shortlist(), LABELS, 2)[0]
    assert blind.candidates == seen.candidates
    assert len(set(seen.student_scores)) > 1
    assert len(blind.student_scores) == len(blind.candidates)
    assert len(set(blind.student_scores)) == 1


def test_empty_places_of_a_shortlist_are_not_asked_about() -> None:
    judgements = Judgements(DOCUMENTS, shortlist(), LABELS, 3)
    assert len(judgements) == 3
    assert [j.label_ids for j in judgements] == [(5, 0, 2), (1, 4), (3,)]
    assert [j.document_id for j in judgements[1:]] == ["d0", "d2"]


def test_verdicts_come_back_from_their_file(tmp_path: Path) -> None:
    before = JudgedShortlist(
        np.array([[1, 2]], np.int32),
        np.array([[0.5, NAN]], np.float32),
        np.array([[True, True]]),
        "budget.usd = 1",
    )
    before.save(tmp_path / "v.npz")
    after = JudgedShortlist.load(tmp_path / "v.npz")
    np.testing.assert_array_equal(after.label_ids_nk, before.label_ids_nk)
    np.testing.assert_array_equal(after.scores_nk, before.scores_nk)
    np.testing.assert_array_equal(after.judged_nk, before.judged_nk)
    assert after.stopped_by == "budget.usd = 1"


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"nonsense" * 9])
def test_damaged_verdicts_are_one_clear_error(tmp_path: Path, spoil) -> None:
    judged([[0.5]]).save(tmp_path / "v.npz")
    (tmp_path / "v.npz").write_bytes(spoil((tmp_path / "v.npz").read_bytes()))
    with pytest.raises(RunError, match=r"v\.npz: These verdicts cannot be read"):
        JudgedShortlist.load(tmp_path / "v.npz")


def annotations_of(scores: list[list[float]], rule: AnnotationRule):
    found = judged(scores)
    ids = np.arange(found.scores_nk.size).reshape(found.scores_nk.shape)
    return choose_positives(found.scores_nk, ids, found.judged_nk, rule)


def test_only_documents_with_a_positive_are_trained_on() -> None:
    annotations = annotations_of([[1, -1], [-1, -1], [2, 3]], AnnotationRule())
    made = pseudo_labels(DOCUMENTS, np.array([4, 3, 1]), annotations, LABELS)
    assert list(made.texts) == ["text 4", "text 1"]
    assert [ids.tolist() for ids in made.yes] == [[0], [4, 5]]
    assert made.label_texts == LABELS


def test_no_positive_at_all_is_an_error_with_the_counts() -> None:
    annotations = annotations_of([[-1, NAN]], AnnotationRule())
    with pytest.raises(RunError, match=r"affirmed none of 2 candidates \(1 unread\)[\s\S]*lmteach audit"):
        pseudo_labels(DOCUMENTS, np.array([0]), annotations, LABELS)


# The share of dev documents whose top label the teacher affirms


@pytest.mark.parametrize(
    ("scores", "rule", "cutoff", "share"),
    [
        ([[1, -1], [-1, 1], [0, 0], [0.1, 5]], "threshold", 0.0, 0.5),
        ([[1, -1], [-1, 1], [0, 0], [0.1, 5]], "quantile", 0.5, 0.25),
        ([[1, -1], [-1, 1], [0, 0], [0.1, 5]], "top", 0.0, 0.5),
        ([[-3, -5], [-4, -3]], "top", 99.0, 0.5),  # a lead's cutoff is no score's
        ([[NAN, -1], [NAN, NAN]], "threshold", -9.0, 0.0),
        ([[NAN, -1], [1, NAN]], "top", 0.0, 0.5),
    ],
)
def test_the_first_candidate_counts_when_affirmed(scores, rule: str, cutoff: float, share: float) -> None:
    assert affirmed_share(judged(scores), rule, cutoff) == share


def test_documents_that_nobody_was_asked_about_are_not_affirmed() -> None:
    for rule in ("threshold", "top"):
        found = judged([[9, 1], [9, 1]], asked=[[True, True], [False, False]])
        assert affirmed_share(found, rule, 0.0) == 0.5
    assert (
        affirmed_share(JudgedShortlist(*(np.zeros((0, 2), t) for t in ("i4", "f4", "?"))), "top", 0.0) == 0.0
    )  # type: ignore[arg-type]
