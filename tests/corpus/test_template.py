"""Templates fill fields, drop dangling separators, and name what they cannot fill."""

from __future__ import annotations

import pytest

from lmteach.corpus.template import Template
from lmteach.errors import CorpusError


@pytest.mark.parametrize(
    ("pattern", "fields", "text"),
    [
        ("{text}", {"text": " kept as it is \n"}, " kept as it is \n"),
        ("{title}\t{text}", {"title": "T", "text": "x"}, "T\tx"),
        (r"{title}\t{text}\n", {"title": "T", "text": "x"}, "T\tx\n"),
        ("{title}\t{text}", {"title": "", "text": "- item"}, "- item"),
        ("{title}\t{text}", {"text": "x"}, "x"),
        ("{name}: {description}", {"name": "n", "description": None}, "n"),
        ("{a} - {b} - {c}", {"a": "1", "c": "3"}, "1 - 3"),
        ("{a} and {b}", {"a": "1"}, "1 and "),
        ("{{{a}}}", {"a": "1"}, "{1}"),
        ("{n}/{x}", {"n": 3, "x": 2.5}, "3/2.5"),
        ("{tags}", {"tags": ["a", "b"]}, "a, b"),
        ("Title: {title}", {"title": " "}, ""),
    ],
)
def test_filling(pattern: str, fields: dict, text: str) -> None:
    assert Template(pattern, "corpus.text").fill(fields, "f:1") == text


@pytest.mark.parametrize(
    "pattern", ["{a", "a}", "{a.b}", "{a!r}", "{a:>9}", "{}", "{0}", "{a[0]}", "no field"]
)
def test_a_pattern_that_is_no_template_is_refused_with_its_key(pattern: str) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.text"):
        Template(pattern, "corpus.text")


@pytest.mark.parametrize("value", [{"a": 1}, [["x"]], b"bytes", True])
def test_a_value_that_is_no_text_names_field_and_place(value: object) -> None:
    with pytest.raises(CorpusError, match=r"f:7: The field 'text'"):
        Template("{text}", "corpus.text").fill({"text": value}, "f:7")


def test_an_unknown_field_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(CorpusError, match="body, title") as caught:
        Template("{titel}", "corpus.text").check_known({"title", "body"}, "f:1")
    assert caught.value.nearest == "title"
