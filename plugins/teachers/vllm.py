"""Teacher `vllm`: a causal language model in this process, run by vLLM with prefix caching.

Written against vLLM's documented interface (0.33) and tested against a stand-in of the same form: vLLM itself
needs a GPU, and this teacher has not been run on one yet.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmteach import weights
from lmteach.errors import RecipeError, TeacherError, missing_package
from lmteach.teaching.prompts import load_prompt
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Judgement, Scope, Usage, Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.teaching.causal.kinds import Kind
    from lmteach.teaching.causal.request import Request, Tokens

_MOST_WANTED = 128  # vLLM's own limit on the tokens that one request may ask about


@dataclass
class VllmConfig:
    """Recipe keys of the teacher `vllm`."""

    model: str = weights.SMOLLM2  # package:NAME/PATH, a folder, a .gguf file, or a hub name
    prompt: Any = "about"  # any kind; a preset's name, or {kind, user, system, answer, ...}, or {preset, ...}
    normalisation: Literal["mean", "sum"] = "mean"  # of a likelihood, over the label's tokens
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: str = ""  # awq, gptq, fp8, ...; empty = as the model's configuration says
    max_document_tokens: int = 430  # LMTX
    max_candidate_tokens: int = 64
    max_model_len: int | None = None  # of a prompt, in tokens; None = the model's own limit
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1  # GPUs
    adapter: str = ""  # a LoRA adapter's folder
    engine: dict[str, Any] = field(default_factory=dict)  # further arguments of vllm.LLM


class VllmTeacher:
    """Judges by one generated token a question, of which only the log-probabilities are looked at.

    A document is read once for all its candidates, as its blocks stay in vLLM's prefix cache. A likelihood is
    taken token by token in the same way: vLLM's `prompt_logprobs` would bypass the cache.
    """

    Config = VllmConfig

    def __init__(self, config: VllmConfig, resources: TeacherResources) -> None:
        self.config = config
        self.prompt = load_prompt(config.prompt)
        self._folder = resources.folder
        self._kind: Kind | None = None
        self._scorer: VllmScorer | None = None
        for key in ("max_document_tokens", "max_candidate_tokens", "tensor_parallel_size"):
            if getattr(config, key) < 1:
                raise RecipeError(
                    f"It must be at least 1, not {getattr(config, key)}.", where=f"teacher.{key}"
                )

    @property
    def identity(self) -> str:
        """Weights by content, prompt, precision, cuts."""
        config = self.config
        source = weights.locate(config.model, folder=self._folder)
        if source is None:
            _require_vllm()  # before gigabytes are fetched for it
            source = self._model()
        parts = ["vllm", weights.fingerprint(source), self.prompt.identity, config.dtype]
        parts.append(f"cut{config.max_document_tokens}/{config.max_candidate_tokens}")
        if self.prompt.kind == "likelihood":
            parts.append(config.normalisation)
        if config.quantization:
            parts.append(config.quantization)
        if config.adapter:
            adapter = weights.fingerprint(weights.resolve(config.adapter, folder=self._folder))
            parts.append(f"adapter-{adapter}")
        parts += [f"{name}={config.engine[name]}" for name in sorted(config.engine)]
        return " ".join(parts)

    @property
    def scope(self) -> Scope:
        """A score of `listwise` and `choice` depends on all candidates."""
        return "pair" if self.prompt.kind in ("pointwise", "likelihood") else "list"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """See `lmteach.teaching.protocol.Teacher`.

        Raises:
            PluginError: vLLM is not installed.
            TeacherError: vLLM cannot load or run the model.
        """
        asked = [judgement for judgement in batch if judgement.candidates]
        if not asked:
            return [Verdict(()) for _ in batch]
        scorer, kind = self._loaded(), self._make_kind()
        start = time.perf_counter()
        scored = kind.score(scorer, asked)  # type: ignore[arg-type]  # it has what kinds use of a scorer
        seconds = time.perf_counter() - start
        n_tokens = sum(s.n_tokens for s in scored) or 1
        verdicts = iter(
            Verdict(
                s.scores, usage=Usage(s.n_tokens, seconds=seconds * s.n_tokens / n_tokens), details=s.details
            )
            for s in scored
        )
        return [next(verdicts) if judgement.candidates else Verdict(()) for judgement in batch]

    def close(self) -> None:
        """Stop vLLM, so that the GPU is free for the student; a later `judge` starts it again."""
        if self._scorer is not None:
            self._scorer.close()
        self._scorer = self._kind = None
        gc.collect()

    def count_tokens(self, judgements: Sequence[Judgement]) -> int:
        """Return the tokens that the model would read. Needs the tokenizer, not the weights."""
        return sum(self._make_kind().count([j for j in judgements if j.candidates]))

    def flops_per_token(self) -> float:
        """Return the floating-point operations that one token costs, from the model's configuration alone."""
        from lmteach.teaching.causal.cost import flops_per_token

        return flops_per_token(self._model())

    def _model(self) -> Path:
        return weights.resolve(self.config.model, folder=self._folder)

    def _make_kind(self) -> Kind:
        if self._kind is None:
            from lmteach.teaching.causal.kinds import Cuts, make_kind
            from lmteach.teaching.causal.loading import load_tokenizer

            cuts = Cuts(self.config.max_document_tokens, self.config.max_candidate_tokens)
            self._kind = make_kind(
                load_tokenizer(self._model()), self.prompt, cuts, self.config.normalisation
            )
        return self._kind

    def _loaded(self) -> VllmScorer:
        if self._scorer is None:
            adapter = self.config.adapter and str(weights.resolve(self.config.adapter, folder=self._folder))
            self._scorer = VllmScorer(self._arguments(), adapter)
        return self._scorer

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of `vllm.LLM`."""
        config = self.config
        arguments: dict[str, Any] = {
            "model": str(self._model()),
            "dtype": config.dtype,
            "enable_prefix_caching": True,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "tensor_parallel_size": config.tensor_parallel_size,
            # The output layer in fp32: in bf16 its logits are too coarse to rank.
            "hf_overrides": {"head_dtype": "float32"},
        }
        optional = {"max_model_len": config.max_model_len, "quantization": config.quantization}
        arguments |= {name: value for name, value in optional.items() if value}
        if config.adapter:
            arguments["enable_lora"] = True
        return arguments | config.engine


def _require_vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise missing_package(
            "vllm", needed_by="The teacher 'vllm'", command='pip install "lmteach[vllm]"'
        ) from error
    return vllm


class VllmScorer:
    """Answers what `lmteach.teaching.causal.kinds` asks of a model: log-probabilities of next tokens.

    Args:
        arguments: of `vllm.LLM`.
        adapter: a LoRA adapter's folder, or empty.

    Raises:
        PluginError: vLLM is not installed.
        TeacherError: vLLM cannot load the model.
    """

    def __init__(self, arguments: Mapping[str, Any], adapter: str = "") -> None:
        vllm = self._vllm = _require_vllm()
        self._lora: Any = None
        if adapter:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, adapter)
        try:
            self._llm = vllm.LLM(**arguments)
        except Exception as error:  # no GPU, too little memory, an unknown architecture, ...
            raise TeacherError(
                f"vLLM cannot load the model: {error}", where=str(arguments["model"])
            ) from error

    def rows(self, requests: Sequence[Request], token_ids: Sequence[int]) -> list[Tensor]:
        """Return each request's log-probabilities of `token_ids` behind each suffix, [suffixes, tokens]."""
        import torch

        wanted = tuple(dict.fromkeys(token_ids))
        asks = [(r.prefix + suffix, wanted) for r in requests for suffix in r.suffixes]
        found = iter(self._next(asks))
        return [
            torch.tensor([[row[i] for i in token_ids] for row in (next(found) for _ in r.suffixes)])
            for r in requests
        ]

    def log_probs(self, requests: Sequence[Request]) -> list[list[float]]:
        """Return, for each request, the log-probability of each suffix, summed over its tokens.

        Each distinct beginning is asked about once, for all tokens that may come next.
        """
        wanted: dict[Tokens, dict[int, None]] = {}
        for request in requests:
            for suffix in request.suffixes:
                for i, token in enumerate(suffix):
                    wanted.setdefault(request.prefix + suffix[:i], {})[token] = None
        asks = [(context, part) for context, tokens in wanted.items() for part in _parts(tuple(tokens))]
        found: dict[Tokens, dict[int, float]] = {}
        for (context, _), row in zip(asks, self._next(asks), strict=True):
            found.setdefault(context, {}).update(row)
        return [
            [sum(found[r.prefix + suffix[:i]][t] for i, t in enumerate(suffix)) for suffix in r.suffixes]
            for r in requests
        ]

    def close(self) -> None:
        """Stop vLLM's own process, which holds the GPU's memory."""
        engine = getattr(getattr(self._llm, "llm_engine", None), "engine_core", None)
        if engine is not None:
            engine.shutdown()
        del self._llm

    def _next(self, asks: Sequence[tuple[Tokens, tuple[int, ...]]]) -> list[dict[int, float]]:
        """Return, for each context, the log-probability of each token asked about as the next one."""
        prompts = [{"prompt_token_ids": list(context)} for context, _ in asks]
        settings = [
            self._vllm.SamplingParams(
                max_tokens=1, temperature=0.0, logprob_token_ids=list(wanted), detokenize=False
            )
            for _, wanted in asks
        ]
        try:
            outputs = self._llm.generate(prompts, settings, use_tqdm=False, lora_request=self._lora)
        except Exception as error:
            raise TeacherError(f"vLLM cannot answer: {error}") from error
        return [_read(output, wanted) for output, (_, wanted) in zip(outputs, asks, strict=True)]


def _read(output: Any, wanted: Sequence[int]) -> dict[int, float]:
    """Return the log-probabilities in one of vLLM's outputs: {token id: object with `logprob`} a position."""
    positions = output.outputs[0].logprobs
    first = positions[0] if positions else {}
    missing = [token for token in wanted if token not in first]
    if missing:
        raise TeacherError(
            f"vLLM left out {len(missing)} of {len(wanted)} log-probabilities.",
            mend='It must be of release 0.20 or later: pip install "vllm>=0.20".',
        )
    return {token: float(first[token].logprob) for token in wanted}


def _parts(tokens: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(tokens), _MOST_WANTED):
        yield tokens[start : start + _MOST_WANTED]
