"""Every built-in teacher that needs no model or server keeps the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from lmteach import registry
from lmteach.corpus.corpus import Corpus, Documents, LabelSet
from lmteach.teaching.protocol import PairTeacher, Teacher, TeacherResources
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.testing import PairTeacherContract, TeacherContract, no_members
from lmteach.types import Document, Judgement


def build_named(section: Mapping[str, Any], resources: TeacherResources | None = None) -> Any:
    """Build a built-in teacher from a recipe section, as a run does."""
    name, keys = registry.split_section(section)
    cls = registry.load("teacher", name)
    return cls(cls.Config(**keys), resources or TeacherResources(no_members, seed=108))


def build_member(section: Mapping[str, Any]) -> Teacher:
    member: Teacher = build_named(section)
    return member


class TestRandom(TeacherContract):
    other_keys = ({"seed": 1}, {"yes_rate": 0.2}, {"unread": 0.1})

    def build(self, **keys: Any) -> Teacher:
        return build_member({"name": "random", **keys})


class TestRandomUnread(TestRandom):
    other_keys = ()

    def build(self, **keys: Any) -> Teacher:
        return build_member({"name": "random", "unread": 0.5, **keys})


class TestOracle(TeacherContract):
    other_keys = ({"seed": 1}, {"noise": 0.2}, {"systematic": 0.2}, {"unread": 0.1})
    answers_any_text = False

    def build(self, **keys: Any) -> Teacher:
        names = TeacherContract.judgements(self)[0].candidates
        documents = [Document(j.document_id, j.document, (i,)) for i, j in enumerate(self.judgements())]
        corpus = Corpus("made", LabelSet(names, names), Documents.of(documents), None, None, "f")
        oracle: Teacher = build_named({"name": "oracle", **keys}, TeacherResources(no_members, corpus, 108))
        return oracle


class TestReplay(TeacherContract):
    answers: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def _answers(self, tmp_path: Path) -> None:
        type(self).answers = tmp_path / "answers.jsonl"
        self.answers.write_text(
            "".join(
                json.dumps({"document": j.document, "candidate": c, "score": len(c) - 8.5}) + "\n"
                for j in self.judgements()
                for c in j.candidates[:3]
            )
        )

    other_keys = ({"missing": "error"}, {"teacher": "x"})

    def build(self, **keys: Any) -> Teacher:
        return build_member({"name": "replay", "path": str(self.answers), **keys})


class TestEnsemble(TeacherContract):
    members: ClassVar[list[dict[str, Any]]] = [
        {"name": "random", "unread": 0.3},
        {"name": "random", "seed": 5},
    ]
    other_keys = (
        {"weights": [1.0, 2.0]},
        {"student_weight": 0.5},
        {"standardise": "none"},
        {"members": members[:1]},
        {"members": [members[0], {"name": "random", "seed": 6}]},
    )

    def build(self, **keys: Any) -> Teacher:
        section = {"name": "ensemble", "members": self.members, **keys}
        ensemble: Teacher = build_named(section, TeacherResources(build_member, seed=108))
        return ensemble


class TestEnsembleWithStudent(TestEnsemble):
    other_keys = ()

    def build(self, **keys: Any) -> Teacher:
        return super().build(student_weight=0.7, **keys)


class TestCascade(TeacherContract):
    other_keys = (
        {"band": 2.0},
        {"strong": {"name": "random", "seed": 9}},
        {"cheap": {"name": "random", "seed": 9}},
    )

    def build(self, **keys: Any) -> Teacher:
        section = {
            "name": "cascade",
            "cheap": {"name": "random", "unread": 0.2},
            "strong": {"name": "random", "seed": 5},
            **keys,
        }
        cascade: Teacher = build_named(section, TeacherResources(build_member, seed=108))
        return cascade


class TestStoredPairs(TeacherContract):
    """A stored teacher keeps the contract of the one inside."""

    folder: ClassVar[Path]
    inner_scope = "pair"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        type(self).folder = tmp_path

    def build(self, **keys: Any) -> Teacher:
        random = build_named({"name": "random", "unread": 0.2, **keys})
        inner = type("Inner", (type(random),), {"scope": self.inner_scope})
        return StoredTeacher(inner(random.config, self.resources()), Store.open(self.folder / "s.sqlite"))

    other_keys = ({"seed": 3},)


class TestStoredLists(TestStoredPairs):
    inner_scope = "list"


class TestSegment(PairTeacherContract):
    other_keys = ({"unit": "sentences"}, {"min_length": 4}, {"max_length": 9}, {"max_share": 0.3})

    def build(self, **keys: Any) -> PairTeacher:
        teacher: PairTeacher = build_named({"name": "segment", **keys})
        return teacher


class TestSegmentSentences(TestSegment):
    other_keys = ()

    def build(self, **keys: Any) -> PairTeacher:
        return super().build(unit="sentences", min_length=1, **keys)


class TestTitle(PairTeacherContract):
    other_keys = ({"source": "first_line"}, {"max_words": 3})

    def build(self, **keys: Any) -> PairTeacher:
        teacher: PairTeacher = build_named({"name": "title", **keys})
        return teacher


class TestTitleInText(TestTitle):
    other_keys = ()

    def build(self, **keys: Any) -> PairTeacher:
        return super().build(source="first_line", **keys)


class Careless:
    """A teacher with one fault, to see that the suite finds it."""

    def __init__(self, fault: str) -> None:
        self.fault, self.calls = fault, 0
        self.identity = f"careless {id(self)}" if fault == "identity" else "careless"
        self.scope = "pair"

    Config = TestRandom().build().Config

    def judge(self, batch: Any) -> Any:
        from lmteach.types import Verdict

        self.calls += 1
        verdicts = []
        for place, judgement in enumerate(batch):
            scores: list[float | None] = [
                float(len(c) + len(judgement.document)) for c in judgement.candidates
            ]
            if self.fault == "place" and scores:
                scores[0] = float(place)
            if self.fault == "neighbours":
                scores = [(s or 0) + len(scores) for s in scores]
            if self.fault == "mood":
                scores = [(s or 0) + self.calls for s in scores]
            if self.fault == "nan":
                scores = [float("nan") for _ in scores]
            if self.fault == "short":
                scores = scores[1:]
            if self.fault == "hoard":
                self.hoard = torch.zeros(1_000_000)
            if self.fault == "empty" and not judgement.document:
                raise ValueError("no text")
            verdicts.append(Verdict(tuple(scores)))
        return verdicts[::-1] if self.fault == "order" else verdicts

    def close(self) -> None:
        self.calls = 0


@pytest.mark.parametrize(
    "fault", ["place", "neighbours", "mood", "nan", "short", "empty", "order", "identity", "hoard", "none"]
)
def test_the_suite_finds_faults(fault: str) -> None:
    class Suite(TeacherContract):
        def build(self, **keys: Any) -> Teacher:
            return Careless(fault)

    failed = []
    for name in dir(Suite):
        if name.startswith("test_"):
            try:
                getattr(Suite(), name)()
            except (AssertionError, ValueError):
                failed.append(name)
    assert bool(failed) == (fault != "none"), failed


def test_every_announced_teacher_has_a_suite_or_needs_a_model() -> None:
    here = {"random", "oracle", "replay", "ensemble", "cascade", "segment", "title"}
    needs_a_model = {"transformers", "cross_encoder", "openai", "vllm"}
    ours = {entry.name for entry in registry.entries("teacher") if entry.distribution == "lmteach"}
    assert ours == here | needs_a_model


def test_judgements_of_the_suite_suit_a_cascade() -> None:
    """The default judgements must reach both branches, or the suite proves nothing about the second."""
    judgements: list[Judgement] = TestCascade().judgements()
    passed = [verdict.details["passed_on"] for verdict in TestCascade().build().judge(judgements)]
    assert 0 < sum(passed) < sum(len(j.candidates) for j in judgements)
