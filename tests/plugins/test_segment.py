"""The segment teacher: what is cut out and what is left make up the document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.testing import no_members
from lmteach.types import Document
from lmteach_plugins.teachers.segment import SegmentTeacher


def build(**keys: Any) -> SegmentTeacher:
    return SegmentTeacher(SegmentTeacher.Config(**keys), TeacherResources(no_members))


@given(
    st.text(st.sampled_from("ab. \n\té!"), max_size=300),
    st.integers(0, 99),
    st.sampled_from(["words", "sentences"]),
)
def test_rest_and_segment_make_up_the_document(text: str, seed: int, unit: str) -> None:
    teacher = build(unit=unit, min_length=1, max_length=8)
    (pair,) = teacher.pairs([Document("d", text)], seed)
    words = text.split()
    if pair is None:
        assert len(words) < 2 or unit == "sentences"
        return
    rest, segment = pair
    cut, left = segment.split(), rest.split()
    assert cut
    assert left
    assert len(cut) + len(left) == len(words)
    start = next(
        i
        for i in range(len(words))
        if words[i : i + len(cut)] == cut and words[:i] + words[i + len(cut) :] == left
    )
    assert start >= 0
    if unit == "words":
        assert len(cut) <= min(8, len(words) / 2)


def test_lengths_are_drawn_over_the_whole_range() -> None:
    document = Document("d", " ".join(f"w{i}" for i in range(40)))
    teacher = build(min_length=2, max_length=6)
    pairs = [teacher.pairs([document], seed)[0] for seed in range(300)]
    segments = [pair[1].split() for pair in pairs if pair]
    assert {len(s) for s in segments} == {2, 3, 4, 5, 6}
    starts = {s[0] for s in segments}
    assert "w0" in starts
    assert len(starts) > 30, "everywhere in the document"


def test_sentences_are_cut_whole() -> None:
    text = "First one here. Second, with 3.5 points! Third? Fourth line\nFifth ends"
    teacher = build(unit="sentences", min_length=1, max_length=1, max_share=0.3)
    found = {pair[1] for seed in range(60) if (pair := teacher.pairs([Document("d", text)], seed)[0])}
    assert found == {"First one here.", "Second, with 3.5 points!", "Third?", "Fourth line", "Fifth ends"}


@pytest.mark.parametrize("text", ["", "   ", "one", "one two three", "one two three four five"])
def test_short_documents_give_none(text: str) -> None:
    assert build(min_length=3).pairs([Document("d", text)], 1) == [None]


def test_another_epoch_gives_another_segment() -> None:
    document = Document("d", " ".join(f"w{i}" for i in range(100)))
    assert len({build().pairs([document], seed)[0] for seed in range(20)}) > 15
    twin = Document("e", document.text)
    assert [build().pairs([document], s) == build().pairs([twin], s) for s in range(20)].count(True) < 5


@pytest.mark.parametrize(
    "keys", [{"min_length": 0}, {"min_length": 5, "max_length": 4}, {"max_share": 1.0}, {"unit": "letters"}]
)
def test_senseless_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(TeacherError, match=r"teacher\."):
        build(**keys)
