"""The oracle teacher: gold, set errors, and the seal."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmteach.corpus.corpus import Corpus, Documents, LabelSet
from lmteach.errors import RunError, TeacherError
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.types import Document, Judgement
from lmteach_plugins.teachers.oracle import SCORE, OracleTeacher

N_LABELS = 40


def some_documents(n: int, split: str, offset: int = 0) -> list[Document]:
    return [
        Document(f"d{i}", f"{split} text {i}", tuple(sorted({i % N_LABELS, (i * 7 + 3) % N_LABELS})))
        for i in range(offset, offset + n)
    ]


@pytest.fixture
def corpus() -> Corpus:
    names = tuple(f"label {i}" for i in range(N_LABELS))
    train = Documents.of(some_documents(300, "train"))
    dev = Documents.of(some_documents(20, "dev", 300)).without_gold()
    test = Documents.of(some_documents(20, "test")).sealed()  # ids that train has too
    return Corpus("made", LabelSet(names, names), train, dev, test, "f" * 64)


def build(corpus: Corpus | None, seed: int = 1, **keys: float | int) -> OracleTeacher:
    def no_members(section: object) -> Teacher:
        raise AssertionError(section)

    resources = TeacherResources(no_members, corpus, seed, Path())
    return OracleTeacher(OracleTeacher.Config(**keys), resources)  # type: ignore[arg-type]


def ask_all(document: Document) -> Judgement:
    names = tuple(f"label {i}" for i in range(N_LABELS))
    return Judgement(document.text, names, document.id, label_ids=tuple(range(N_LABELS)))


def flipped(teacher: OracleTeacher, documents: list[Document]) -> set[tuple[str, int]]:
    verdicts = teacher.judge([ask_all(d) for d in documents])
    return {
        (d.id, i)
        for d, v in zip(documents, verdicts, strict=True)
        for i, score in enumerate(v.scores)
        if (score == SCORE) != (i in (d.labels or ()))
    }


def test_answers_are_gold_for_train_and_dev(corpus: Corpus) -> None:
    assert flipped(build(corpus), some_documents(300, "train")) == set()
    assert flipped(build(corpus), some_documents(20, "dev", 300)) == set()


def test_candidates_without_ids_are_found_by_text(corpus: Corpus) -> None:
    document = some_documents(4, "train")[3]
    (verdict,) = build(corpus).judge([Judgement(document.text, ("label 24", "label 5"), document.id)])
    assert verdict.scores == (SCORE, -SCORE)
    with pytest.raises(TeacherError, match="label 99"):
        build(corpus).judge([Judgement(document.text, ("label 99",), document.id)])


def test_test_gold_stays_sealed_even_where_train_has_the_same_ids(corpus: Corpus) -> None:
    teacher, documents = build(corpus), some_documents(20, "test")
    with pytest.raises(RunError, match="before training was over"):
        teacher.judge([ask_all(documents[0])])
    assert corpus.test is not None
    corpus.test.unseal()
    assert flipped(teacher, documents) == set()


def test_unknown_documents_are_refused(corpus: Corpus) -> None:
    with pytest.raises(TeacherError, match="no document 'nobody'"):
        build(corpus).judge([Judgement("x", ("label 1",), "nobody")])


def test_noise_has_its_rate_and_depends_on_the_question_alone(corpus: Corpus) -> None:
    documents = some_documents(300, "train")
    wrong = flipped(build(corpus, noise=0.3), documents)
    assert abs(len(wrong) / (300 * N_LABELS) - 0.3) < 0.02
    assert flipped(build(corpus, noise=0.3), documents[::-1]) == wrong
    assert flipped(build(corpus, noise=0.3, seed=2), documents) != wrong
    per_document = [sum(1 for d, _ in wrong if d == f"d{i}") for i in range(300)]
    assert min(per_document) > 0, "errors are spread over documents"


def test_systematic_errors_are_whole_labels(corpus: Corpus) -> None:
    wrong = flipped(build(corpus, systematic=0.25), some_documents(300, "train"))
    labels = {i for _, i in wrong}
    assert len(wrong) == 300 * len(labels), "a misunderstood label is wrong on every document"
    assert 0.05 < len(labels) / N_LABELS < 0.5


def test_unread_answers_are_none(corpus: Corpus) -> None:
    verdicts = build(corpus, unread=0.5).judge([ask_all(d) for d in some_documents(300, "train")])
    n_none = sum(score is None for v in verdicts for score in v.scores)
    assert abs(n_none / (300 * N_LABELS) - 0.5) < 0.02


def test_identity_tells_seeds_and_rates_apart(corpus: Corpus) -> None:
    teachers = [build(corpus), build(corpus, noise=0.1), build(corpus, systematic=0.1), build(corpus, seed=7)]
    assert len({teacher.identity for teacher in teachers}) == 4


def test_it_needs_gold_and_sound_rates(corpus: Corpus) -> None:
    with pytest.raises(TeacherError, match="needs a corpus with gold"):
        build(None)
    with pytest.raises(TeacherError, match=r"teacher\.noise: A share must lie between 0 and 1"):
        build(corpus, noise=1.5)


def single(n: int) -> list[Document]:
    """Documents with one label each; every tenth holds a word that can mislead."""
    word = {True: "a Horror film", False: "no horrors"}
    return [Document(f"s{i}", f"text {i}, {word[i % 10 == 0]}", (i % 4,)) for i in range(n)]


def said(documents: list[Document], **keys: object) -> list[int | None]:
    names = tuple("abcd")
    corpus = Corpus("one", LabelSet(names, names), Documents.of(documents), None, None, "e" * 64)
    teacher = build(corpus, **keys)  # type: ignore[arg-type]
    found: list[int | None] = []
    for verdict in teacher.judge([Judgement(d.text, names, d.id, label_ids=(0, 1, 2, 3)) for d in documents]):
        yes = [i for i, score in enumerate(verdict.scores) if score == SCORE]
        assert len(yes) == (0 if None in verdict.scores else 1)  # one class, never two or none
        found.append(yes[0] if yes else None)
    return found


def test_one_class_errs_at_the_set_rate_and_spreads_over_the_other_classes() -> None:
    documents = single(2000)
    wrong = [
        (d.labels or ())[0]
        for d, s in zip(documents, said(documents, one_class=True, noise=0.2), strict=True)
        if s != (d.labels or ())[0]
    ]
    assert 0.17 < len(wrong) / 2000 < 0.23
    assert len(set(wrong)) == 4


def test_words_mislead_whole_documents() -> None:
    documents = single(200)
    answers = said(documents, one_class=True, misread=["horror"])
    wrong = {d.id for d, s in zip(documents, answers, strict=True) if s != (d.labels or ())[0]}
    assert wrong == {d.id for i, d in enumerate(documents) if i % 10 == 0}  # "horrors" is another word


def test_unread_documents_are_unread_whole() -> None:
    answers = said(single(1000), one_class=True, unread=0.1)
    assert 60 < answers.count(None) < 140
