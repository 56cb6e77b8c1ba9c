"""Splits are drawn by seed alone, keep dev apart from train, and are checked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.corpus.documents import Documents
from lmteach.corpus.splits import Split, check_apart, draw_split, draw_test
from lmteach.errors import CorpusError, RunError
from lmteach.types import Document


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int | None, int, int]:
    n_dev = draw(st.integers(0, 60))
    n_train = draw(st.integers(1, 60))
    n = n_train + n_dev + draw(st.integers(0, 60))
    return n, draw(st.sampled_from([n_train, None])), n_dev, draw(st.integers(0, 2**32))


@given(sizes())
def test_dev_and_train_are_apart_ascending_and_as_many_as_asked(case: tuple) -> None:
    n, n_train, n_dev, seed = case
    split = draw_split(n, n_train, n_dev, seed)
    assert len(split.dev) == n_dev
    assert len(split.train) == (n - n_dev if n_train is None else n_train)
    both = np.concatenate([split.train, split.dev])
    assert len(np.unique(both)) == len(both)
    assert both.min() >= 0
    assert both.max() < n
    assert np.all(np.diff(split.train) > 0)
    assert np.all(np.diff(split.dev) > 0)


@given(sizes())
def test_the_same_seed_draws_the_same(case: tuple) -> None:
    one, other = draw_split(*case), draw_split(*case)
    assert one.train.tolist() == other.train.tolist()
    assert one.dev.tolist() == other.dev.tolist()


def test_another_seed_draws_others_and_sizes_leave_each_others_documents_alone() -> None:
    base = draw_split(1000, 300, 100, 1)
    assert base.train.tolist() != draw_split(1000, 300, 100, 2).train.tolist()
    assert set(draw_split(1000, 100, 100, 1).train) < set(base.train)
    assert draw_split(1000, 500, 100, 1).dev.tolist() == base.dev.tolist()
    assert draw_split(1000, 300, 50, 1).train.tolist() == base.train.tolist()


def test_a_draw_stays_what_it_was() -> None:
    """A change here would change every recorded run."""
    split = draw_split(20, 5, 3, 108)
    assert split.train.tolist() == [9, 10, 11, 13, 16]
    assert split.dev.tolist() == [1, 2, 6]
    assert draw_test(20, 4, 108).tolist() == [0, 5, 6, 14]


@pytest.mark.parametrize(
    ("n", "n_train", "n_dev"), [(800, None, 800), (5, None, 9), (100, 60, 41), (10, 11, 0)]
)
def test_too_few_documents(n: int, n_train: int | None, n_dev: int) -> None:
    with pytest.raises(CorpusError, match=rf"There are {n} training documents") as caught:
        draw_split(n, n_train, n_dev, 1)
    assert "corpus.n_dev" in str(caught.value)


def test_one_document_more_than_dev_is_enough() -> None:
    assert len(draw_split(801, None, 800, 1).train) == 1


@pytest.mark.parametrize("n_train", [0, -1])
def test_no_training_documents_are_refused(n_train: int) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.n_train"):
        draw_split(10, n_train, 2, 1)


def test_a_negative_dev_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"corpus\.n_dev"):
        draw_split(10, None, -1, 1)


def test_test_documents() -> None:
    assert draw_test(5, None, 1).tolist() == [0, 1, 2, 3, 4]
    assert len(set(draw_test(100, 30, 1))) == 30
    for n_test in (0, 6):
        with pytest.raises(CorpusError, match=r"corpus\.n_test"):
            draw_test(5, n_test, 1)


def check(train: list[int], dev: list[int], ids: str) -> None:
    documents = Documents.of([Document(i, "x") for i in ids])
    split = Split(np.array(train, np.int64), np.array(dev, np.int64))
    check_apart(split, documents.take(train), documents.take(dev))


def test_an_overlap_fails_loudly_by_position_and_by_id() -> None:
    check([0, 1], [2, 3], "abcd")
    with pytest.raises(RunError, match="1 documents are in both train and dev, first number 1"):
        check([0, 1], [1, 3], "abcd")
    with pytest.raises(RunError, match="1 document ids are in both train and dev, first 'a'"):
        check([0, 1], [2, 3], "abac")
