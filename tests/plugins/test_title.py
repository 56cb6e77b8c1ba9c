"""The title teacher: titles found, and taken out of the body."""

from __future__ import annotations

from typing import Any

import pytest

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.testing import no_members
from lmteach.types import Document
from lmteach_plugins.teachers.title import TitleTeacher


def pair(text: str, title: str = "", **keys: Any) -> tuple[str, str] | None:
    teacher = TitleTeacher(TitleTeacher.Config(**keys), TeacherResources(no_members))
    (found,) = teacher.pairs([Document("d", text, title=title)], 1)
    return found


@pytest.mark.parametrize(
    ("text", "title", "found"),
    [
        ("A body.", "Title", ("A body.", "Title")),
        ("Title\tA body.", "Title", ("A body.", "Title")),
        ("Title: A body.", " Title ", ("A body.", "Title")),
        ("Category theory", "Cat", ("Category theory", "Cat")),
        ("The Cat sat. Cat.", "Cat", ("The Cat sat. Cat.", "Cat")),
        ("Only", "Only", None),
        ("A body.", "", None),
        ("", "Title", None),
        ("A body.", "one two three four", None),
    ],
)
def test_titles_of_their_own_field(text: str, title: str, found: tuple[str, str] | None) -> None:
    assert pair(text, title, max_words=3) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A title\tthe content\nand more", ("the content\nand more", "A title")),
        ("A title\n\nthe content", ("the content", "A title")),
        ("no title here", None),
        ("", None),
        ("  \n ", None),
    ],
)
def test_titles_at_the_head_of_the_text(text: str, found: tuple[str, str] | None) -> None:
    assert pair(text, "ignored", source="first_line") == found


@pytest.mark.parametrize("keys", [{"source": "web"}, {"max_words": 0}])
def test_senseless_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(TeacherError, match=r"teacher\."):
        pair("a", **keys)
