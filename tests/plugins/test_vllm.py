"""The `vllm` teacher without vLLM: requests of the documented form, read from outputs of the documented form.

vLLM needs a GPU. Here a stand-in answers `LLM.generate` by a small random model of transformers, with the
arguments and outputs of vLLM 0.33 (`SamplingParams.logprob_token_ids`, `RequestOutput.outputs[0].logprobs`), so
scores must equal those of the `transformers` teacher.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from lmteach.errors import PluginError, RecipeError, TeacherError
from lmteach.teaching.causal.request import Request
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.testing import TeacherContract, no_members
from lmteach.types import Judgement
from lmteach_plugins.teachers.transformers import TransformersTeacher
from lmteach_plugins.teachers.vllm import VllmScorer, VllmTeacher

LLAMA = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class SamplingParams:
    """The arguments used, with vLLM's names, defaults and checks."""

    max_tokens: int = 16
    temperature: float = 1.0
    logprob_token_ids: list[int] | None = None
    detokenize: bool = True

    def __post_init__(self) -> None:
        assert self.logprob_token_ids is None or len(self.logprob_token_ids) <= 128


class LLM:
    """Answers as vLLM does: the sampled token and the tokens asked about, an entry each."""

    made: ClassVar[list[LLM]] = []

    def __init__(self, model: str, **arguments: Any) -> None:
        from transformers import AutoModelForCausalLM

        self.arguments, self.n_prompts = arguments, 0
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.stopped = False
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._stop))
        LLM.made.append(self)

    def _stop(self) -> None:
        self.stopped = True

    def generate(
        self, prompts: Any, sampling_params: Any, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Any]:
        assert not self.stopped
        self.n_prompts += len(prompts)
        return [self._one(p, s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _one(self, prompt: dict[str, list[int]], settings: SamplingParams) -> Any:
        assert settings.max_tokens == 1
        assert settings.temperature == 0
        ids = prompt["prompt_token_ids"]
        assert all(type(i) is int for i in ids)
        with torch.inference_mode():
            log_probs = self.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        sampled = int(log_probs.argmax())
        listed = dict.fromkeys([sampled, *(settings.logprob_token_ids or ())])
        position = {i: SimpleNamespace(logprob=float(log_probs[i]), rank=None) for i in listed}
        return SimpleNamespace(outputs=[SimpleNamespace(text="", token_ids=[sampled], logprobs=[position])])


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama with a byte-level tokenizer that has single tokens for yes, no and letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [space + word for word in ("yes", "Yes", "no", "No") for space in ("", "\u0120")]
    vocabulary = {piece: i for i, piece in enumerate(letters)}
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    path = tmp_path_factory.mktemp("llama")
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **LLAMA))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(path)
    return path


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LLM]]:
    """Put the stand-in where vLLM would be; return the models it loads."""
    package = ModuleType("vllm")
    package.LLM, package.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for name, module in (
        ("vllm", package),
        ("vllm.lora", ModuleType("vllm.lora")),
        (request.__name__, request),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    LLM.made.clear()
    yield LLM.made
    LLM.made.clear()


def build(folder: Path, **keys: Any) -> VllmTeacher:
    return VllmTeacher(VllmTeacher.Config(model=str(folder), **keys), TeacherResources(no_members))


CANDIDATES = ("data structures", "cooking", "data types", "food law")
JUDGEMENTS = [
    Judgement("The heap keeps the smallest item first.", CANDIDATES),
    Judgement("Bake the bread for forty minutes. " * 3, CANDIDATES[:3]),
    Judgement("", CANDIDATES[1:]),
]


@pytest.mark.usefixtures("vllm")
class TestVllm(TeacherContract):
    folder: ClassVar[Path]
    other_keys = (
        {"prompt": "about-paraphrased"},
        {"prompt": "likelihood"},
        {"prompt": "likelihood", "normalisation": "sum"},
        {"dtype": "float16"},
        {"max_document_tokens": 7},
        {"quantization": "fp8"},
        {"engine": {"seed": 3}},
    )

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        type(self).folder = folder

    def build(self, **keys: Any) -> Teacher:
        return build(self.folder, **{"max_document_tokens": 60, **keys})


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("prompt", ["about", "lmtx-0", "likelihood", "choice", "listwise", "sentiment"])
def test_scores_equal_those_of_the_transformers_teacher(folder: Path, prompt: str) -> None:
    keys = {"model": str(folder), "prompt": prompt, "max_document_tokens": 50}
    resources = TeacherResources(no_members)
    own = VllmTeacher(VllmTeacher.Config(**keys), resources).judge(JUDGEMENTS)
    theirs = TransformersTeacher(
        TransformersTeacher.Config(**keys, precision="fp32", device="cpu"), resources
    ).judge(JUDGEMENTS)
    spread = [score for verdict in own for score in verdict.scores if score is not None]
    assert max(spread) - min(spread) > 0.05
    for a, b in zip(own, theirs, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=2e-4)
        assert dict(a.details) == pytest.approx(dict(b.details))
        assert a.usage.prompt_tokens == b.usage.prompt_tokens > 0


def test_each_beginning_of_a_label_is_asked_about_once(folder: Path, vllm: list[LLM]) -> None:
    """Two labels that begin alike share the requests of their common beginning."""
    scorer = VllmScorer({"model": str(folder)})
    labels = ((5, 6, 7), (5, 6, 9), (5,))
    (found,) = scorer.log_probs([Request((1, 2, 3), labels)])
    assert vllm[0].n_prompts == 3  # behind (), (5,) and (5, 6)
    with torch.inference_mode():
        log_probs = vllm[0].model(torch.tensor([[1, 2, 3, 5, 6]])).logits[0].log_softmax(-1)
    assert found[1] == pytest.approx(float(log_probs[2, 5] + log_probs[3, 6] + log_probs[4, 9]), abs=1e-4)
    assert found[2] == pytest.approx(float(log_probs[2, 5]), abs=1e-4)


def test_more_tokens_than_a_request_may_name_are_asked_about_in_parts(folder: Path, vllm: list[LLM]) -> None:
    scorer = VllmScorer({"model": str(folder)})
    (found,) = scorer.log_probs([Request((1, 2), tuple((i,) for i in range(200)))])
    assert vllm[0].n_prompts == 2
    with torch.inference_mode():
        expected = vllm[0].model(torch.tensor([[1, 2]])).logits[0, -1].log_softmax(-1)[:200]
    assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_vllm_is_started_as_documented_and_stopped(folder: Path, vllm: list[LLM]) -> None:
    teacher = build(folder, max_model_len=512, engine={"enforce_eager": True}, quantization="fp8")
    assert not vllm, "it must not be started before it is asked"
    teacher.judge([])
    assert not vllm
    teacher.judge(JUDGEMENTS[:1])
    teacher.judge(JUDGEMENTS[:1])
    assert len(vllm) == 1
    arguments = vllm[0].arguments
    assert arguments["enable_prefix_caching"] is True
    assert arguments["max_model_len"] == 512
    assert arguments["quantization"] == "fp8"
    assert arguments["enforce_eager"] is True
    assert "enable_lora" not in arguments
    teacher.close()
    assert vllm[0].stopped
    teacher.judge(JUDGEMENTS[:1])
    assert len(vllm) == 2


def test_an_adapter_goes_along_with_each_request(folder: Path, vllm: list[LLM]) -> None:
    seen: list[Any] = []
    real = LLM.generate

    def generate(self: LLM, *arguments: Any, **keys: Any) -> list[Any]:
        seen.append(keys["lora_request"])
        return real(self, *arguments, **keys)

    teacher = build(folder, adapter=str(folder))
    assert teacher.identity != build(folder).identity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LLM, "generate", generate)
        teacher.judge(JUDGEMENTS[:1])
    assert vllm[0].arguments["enable_lora"] is True
    assert seen[0].lora_path == str(folder)


@pytest.mark.usefixtures("vllm")
def test_an_older_vllm_is_named_as_the_cause(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases without `logprob_token_ids` would list the likeliest tokens alone."""
    real = LLM._one

    def old(self: LLM, prompt: Any, settings: SamplingParams) -> Any:
        return real(self, prompt, SamplingParams(1, 0.0, None))

    monkeypatch.setattr(LLM, "_one", old)
    with pytest.raises(TeacherError, match=r"left out .* log-probabilities") as error:
        build(folder).judge(JUDGEMENTS)
    assert "vllm>=0.20" in str(error.value)


@pytest.mark.usefixtures("vllm")
def test_what_vllm_raises_is_a_teacher_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("prompt is longer than max_model_len")

    monkeypatch.setattr(LLM, "generate", fail)
    with pytest.raises(TeacherError, match="cannot answer: prompt is longer"):
        build(folder).judge(JUDGEMENTS)
    monkeypatch.setattr(LLM, "__init__", fail)
    with pytest.raises(TeacherError, match="cannot load the model"):
        build(folder).judge(JUDGEMENTS)


def test_without_vllm_the_command_to_install_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    teacher = build(folder)
    assert teacher.identity
    assert teacher.count_tokens(JUDGEMENTS) > 0
    assert teacher.flops_per_token() > 0
    with pytest.raises(PluginError, match="vllm") as error:
        teacher.judge(JUDGEMENTS)
    assert 'pip install "lmteach[vllm]"' in str(error.value)


@pytest.mark.parametrize("key", ["max_document_tokens", "max_candidate_tokens", "tensor_parallel_size"])
def test_counts_below_one_are_refused(folder: Path, key: str) -> None:
    with pytest.raises(RecipeError, match="at least 1"):
        build(folder, **{key: 0})
