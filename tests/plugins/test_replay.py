"""The replay teacher: exports and human tables, found again or refused with the line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmteach.errors import LmteachError, TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.store import Store
from lmteach.teaching.store_transfer import export_store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.testing import no_members
from lmteach.types import Judgement, Verdict
from lmteach_plugins.teachers.replay import NO, YES, ReplayTeacher


def build(path: Path, **keys: Any) -> ReplayTeacher:
    config = ReplayTeacher.Config(path=path.name, **keys)
    return ReplayTeacher(config, TeacherResources(no_members, folder=path.parent))


def write(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


ASKED = [
    Judgement("a long, quoted\ntext", ("tag one", "tag two", "tag three"), "7"),
    Judgement("other", ("tag one", "tag four"), "8"),
]
CSV = (
    "document_id,document,candidate,answer,score\n"
    "7,,tag one,yes,\n"
    '7,,"tag two",No,\n'
    "8,,tag one,,-0.75\n"
    '8,,"tag four",unsure,\n'
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", CSV),
        ("a.csv.gz", CSV),
        ("bom.csv", "\ufeff" + CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        (
            "a.jsonl",
            '{"document_id": 7, "candidate": "tag one", "answer": true}\n\n'
            '{"document_id": "7", "candidate": "tag two", "answer": "no"}\n'
            '{"document_id": "8", "candidate": "tag one", "score": -0.75}\n'
            '{"document_id": "8", "candidate": "tag four", "answer": null}\n',
        ),
        (
            "text.csv",
            "document,candidate,score,answer\n"
            '"a long, quoted\ntext",tag one,,y\n"a long, quoted\ntext",tag two,,n\n'
            "other,tag one,-0.75,\nother,tag four,,\n",
        ),
    ],
)
def test_human_answers(tmp_path: Path, name: str, text: str) -> None:
    teacher = build(write(tmp_path / name, text))
    assert [v.scores for v in teacher.judge(ASKED)] == [(YES, NO, None), (-0.75, None)]
    with pytest.raises(TeacherError, match="document 7: It has no answer for the candidate 'tag three'"):
        build(tmp_path / name, missing="error").judge(ASKED)
    assert build(tmp_path / name, missing="error").judge(ASKED[1:])[0].scores == (-0.75, None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "document_id,candidate,answer\n1,a,perhaps\n", r"a\.csv:2: The answer 'perhaps'"),
        ("a.csv", "document_id,candidate,score\n1,a,inf\n", r"a\.csv:2: The score 'inf'"),
        ("a.csv", "document_id,candidate,answer\n1,a\n", r"a\.csv:2: The row has 2 cells, the header 3"),
        (
            "a.csv",
            "document_id,candidate,answer\n1,a,yes,no\n",
            r"a\.csv:2: The row has 4 cells",
        ),
        ("a.csv", 'document_id,candidate,answer\n1,"a,yes\n', r"a\.csv:\d: The row cannot be read"),
        ("a.csv", "document_id,candidat,answer\n1,a,yes\n", r"Did you mean 'candidate'"),
        ("a.csv", "document_id,candidate\n1,a\n", "needs an answer or a score"),
        (
            "a.csv",
            "document_id,candidate,answer\n1,a,yes\n1,a,no\n",
            r"csv:3: .*another answer here than at .*csv:2",
        ),
        ("a.jsonl", "{", r"a\.jsonl:1: The line is not JSON"),
        ("a.jsonl", '{"candidate": "a", "answer": "yes"}', r"a\.jsonl:1: A row needs"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(LmteachError, match=said):
        build(write(tmp_path / name, text)).judge(ASKED)


def test_the_same_answer_twice_is_no_fault(tmp_path: Path) -> None:
    text = "document_id,candidate,answer\n7,tag one,yes\n7,tag one,y\n"
    assert build(write(tmp_path / "a.csv", text)).judge(ASKED)[0].scores[0] == YES


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(TeacherError, match="There is no file"):
            build(path)


def test_the_identity_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    first = build(path).identity
    assert build(write(tmp_path / "b.csv", CSV)).identity == first
    assert build(write(path, CSV.replace("yes", "no"))).identity != first


@pytest.mark.parametrize("scope", ["pair", "list"])
def test_an_export_of_the_store_is_replayed(tmp_path: Path, scope: str) -> None:
    class Scorer:
        Config = object

        def __init__(self, name: str, shift: float) -> None:
            self.identity, self.scope, self.shift = name, scope, shift

        def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
            return [
                Verdict(tuple(None if "four" in c else len(c) + self.shift for c in j.candidates))
                for j in batch
            ]

        def close(self) -> None: ...

    path = tmp_path / "verdicts.jsonl.gz"
    with Store.open(tmp_path / "s.sqlite") as store:
        said = StoredTeacher(Scorer("model=a", 0.5), store).judge(ASKED)
        StoredTeacher(Scorer("model=b", 2.0), store).judge(ASKED[:1])
        export_store(store, path)
    teacher = build(path, teacher="model=a", missing="error")
    assert [v.scores for v in teacher.judge(ASKED)] == [v.scores for v in said]
    teacher.close()
    assert teacher.judge(ASKED[1:])[0].scores == said[1].scores, "it reads again after a close"
    assert build(path, teacher="b").judge(ASKED)[1].scores == (None, None)
    with pytest.raises(TeacherError, match=r"2 teachers that fit ''[\s\S]*model=a\n  model=b"):
        build(path).judge(ASKED)
    with pytest.raises(TeacherError, match="0 teachers that fit 'z'"):
        build(path, teacher="z").judge(ASKED)


def test_it_only_reads_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"broken": True}))
    assert build(path).identity
    with pytest.raises(TeacherError):
        build(path).judge(ASKED)
