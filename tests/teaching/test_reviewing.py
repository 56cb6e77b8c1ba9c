"""Reviews in the two tools' own JSON, and what people answered read back by the `replay` teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmteach.errors import CorpusError
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.reviewing import Review, export_reviews, read_answers
from lmteach.testing import no_members
from lmteach.types import Judgement
from lmteach_plugins.teachers.replay import NO, YES, ReplayTeacher

REVIEWS = [
    Review("d1", "a splendid film", "negative", 0.9, "positive"),
    Review("d2", "dull\u2028and long", "positive", 0.6, "negative"),
    Review("d3", "neither", "positive", 0.5),
]


def answered(path: Path, tool: str, votes: dict[str, list[str]]) -> Path:
    """Fill in what was exported as each tool does: a response or annotation a person."""
    tasks = json.loads(path.read_text())
    for task in tasks:
        if tool == "argilla":
            own = votes.get(task["id"], [])
            task["responses"] = {"label": [{"value": v, "user_id": str(i)} for i, v in enumerate(own)]}
            continue
        own = votes.get(task["data"]["document_id"], [])
        task["annotations"] = [
            {
                "was_cancelled": False,
                "result": [{**task["predictions"][0]["result"][0], "value": {"choices": [v]}}],
            }
            for v in own
        ] or [{"was_cancelled": True, "result": []}]
    path.write_text(json.dumps(tasks))
    return path


@pytest.mark.parametrize("tool", ["argilla", "label-studio"])
def test_answers_come_back_by_document(tool: Any, tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    export_reviews(path, REVIEWS, tool, "smollm2")
    answered(path, tool, {"d1": ["positive"], "d2": ["negative", "positive", "negative"]})
    found = {answer.document_id: answer for answer in read_answers(path)}
    assert {id_: answer.classes for id_, answer in found.items()} == {
        "d1": ("positive",),
        "d2": ("negative",),
        "d3": (),
    }
    assert found["d2"].text == "dull\u2028and long"


def test_an_even_vote_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    export_reviews(path, REVIEWS, "argilla", "t")
    answered(path, "argilla", {"d1": ["positive", "negative"]})
    assert read_answers(path)[0].classes == ()


def test_drafts_and_discarded_responses_do_not_count(tmp_path: Path) -> None:
    item = {"id": "d", "fields": {"text": "x"}}
    item["responses"] = {
        "label": [{"value": "a", "status": "discarded"}, {"value": "b", "status": "submitted"}]
    }
    (tmp_path / "r.json").write_text(json.dumps([item]))
    assert read_answers(tmp_path / "r.json")[0].classes == ("b",)


def test_label_studios_short_form(tmp_path: Path) -> None:
    rows = [
        {"text": "x", "document_id": "d1", "label": "positive"},
        {"text": "y", "label": {"choices": ["a", "b"]}},
        {"text": "z", "document_id": "d3"},
    ]
    (tmp_path / "min.json").write_text(json.dumps(rows))
    assert [answer.classes for answer in read_answers(tmp_path / "min.json")] == [
        ("positive",),
        ("a", "b"),
        (),
    ]


def test_the_form_is_the_tools(tmp_path: Path) -> None:
    """Field by field what their importers ask for: a suggestion by question, a prediction by control tag."""
    export_reviews(tmp_path / "a.json", REVIEWS[:1], "argilla", "smollm2")
    (record,) = json.loads((tmp_path / "a.json").read_text())
    assert record["fields"] == {"text": "a splendid film"}
    assert record["suggestions"]["label"] == {"value": "negative", "score": 0.9, "agent": "smollm2"}
    export_reviews(tmp_path / "l.json", REVIEWS[:1], "label-studio", "smollm2")
    (task,) = json.loads((tmp_path / "l.json").read_text())
    assert task["data"]["text"] == "a splendid film"
    (result,) = task["predictions"][0]["result"]
    assert (result["from_name"], result["to_name"], result["type"]) == ("label", "text", "choices")


@pytest.mark.parametrize(
    "content", ["{", "{}", "[1]", '[{"fields": {}}]', '[{"other": 1}]', '[{"data": {}}]']
)
def test_anything_else_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(CorpusError, match=r"odd\.json"):
        read_answers(tmp_path / "odd.json")


def test_replay_teaches_what_people_said(tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    export_reviews(path, REVIEWS, "label-studio", "t")
    answered(path, "label-studio", {"d1": ["positive"]})
    teacher = ReplayTeacher(ReplayTeacher.Config(path=str(path)), TeacherResources(no_members))
    classes = ("negative", "positive")
    verdicts = teacher.judge(
        [
            Judgement("a splendid film", classes, "d1"),
            Judgement("a splendid film", classes, "of another corpus"),
            Judgement("neither", classes, "d3"),
            Judgement("unknown", classes, "d9"),
        ]
    )
    assert [v.scores for v in verdicts] == [(NO, YES), (NO, YES), (None, None), (None, None)]
