"""A student at work: its labels beside it, and what it says about a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.errors import RunError
from lmteach.students.encode import encode_texts
from lmteach.students.pooled_encoder import PooledEncoder
from lmteach.students.tagger import LABELS, VECTORS, Tagger, load_labels, save_labels

NAMES = ["bread and butter", "the moon", "law"]


@pytest.fixture(scope="module")
def encoder(minilm1: Path) -> PooledEncoder:
    return PooledEncoder(str(minilm1), lengths={"document": 32, "search": 32, "label": 8})


@pytest.fixture(scope="module")
def tagger(encoder: PooledEncoder) -> Tagger:
    searcher = registry.build("searcher", {"name": "exact"})
    searcher.build(encode_texts(encoder, NAMES, "label"))
    return Tagger(encoder, NAMES, searcher, device="cpu", precision="fp32")


def test_the_nearest_labels_come_best_first_with_their_cosines(
    tagger: Tagger, encoder: PooledEncoder
) -> None:
    texts = ["baking bread with butter", "the moon rose", ""]
    tags = tagger.predict(texts, 2)
    assert [t.labels[0] for t in tags[:2]] == NAMES[:2]
    vectors, labels = encode_texts(encoder, texts, "search"), encode_texts(encoder, NAMES, "label")
    for row, found in zip(vectors @ labels.T, tags, strict=True):
        assert len(found.labels) == len(found.scores) == 2
        assert list(found.scores) == sorted(found.scores, reverse=True)
        for name, score in zip(found.labels, found.scores, strict=True):
            assert score == pytest.approx(row[NAMES.index(name)], abs=1e-5)


def test_all_labels_where_more_are_asked_for(tagger: Tagger) -> None:
    (tags,) = tagger.predict(["bread"], 50)
    assert sorted(tags.labels) == sorted(NAMES)


def test_no_text_no_tags(tagger: Tagger) -> None:
    assert tagger.predict([], 5) == []


def test_an_empty_place_of_a_search_is_no_label(encoder: PooledEncoder) -> None:
    class Gappy:
        def search(self, queries, k):
            return np.array([[2, -1]]), np.array([[0.5, -np.inf]], dtype=np.float32)

    tagger = Tagger(encoder, NAMES, Gappy(), device="cpu", precision="fp32")  # type: ignore[arg-type]
    (tags,) = tagger.predict(["x"], 2)
    assert (tags.labels, tags.scores) == (("law",), (0.5,))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        | st.sampled_from(["a\u2028b", "a\x85b", "a\r\nb", "a\x1cb", '"', "\\", "ünïcode ☃"]),
        max_size=8,
    )
)
def test_any_label_name_comes_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("student")
    vectors = np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32)
    save_labels(folder, names, [name * 2 for name in names], vectors)
    found, again = load_labels(folder)
    assert found == names
    np.testing.assert_array_equal(again, vectors)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / LABELS).unlink(), "no label set that can be read"),
        (lambda f: (f / VECTORS).unlink(), "no label set that can be read"),
        (lambda f: (f / VECTORS).write_bytes(b"nonsense"), "no label set that can be read"),
        (
            lambda f: (f / VECTORS).write_bytes((f / VECTORS).read_bytes()[:-3]),
            "no label set that can be read",
        ),
        (lambda f: (f / LABELS).write_text("{"), "no label set that can be read"),
        (lambda f: (f / LABELS).write_text('{"text": 1}\n'), "no label set that can be read"),
        (lambda f: (f / LABELS).write_text("[1]\n"), "no label set that can be read"),
        (lambda f: (f / LABELS).write_bytes(b"\xff\n"), "no label set that can be read"),
        (lambda f: (f / LABELS).write_text('{"name": "a"}\n'), "1 labels and 3 label vectors"),
    ],
)
def test_a_damaged_label_set_is_one_clear_error(tmp_path: Path, spoil, said: str) -> None:
    save_labels(tmp_path, NAMES, NAMES, np.eye(3, dtype=np.float32))
    spoil(tmp_path)
    with pytest.raises(RunError, match=said):
        load_labels(tmp_path)
