"""Teacher `transformers`: a causal language model here; a document is read once for all its candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmteach import weights
from lmteach.errors import TeacherError, nearest_name
from lmteach.teaching.answers import READERS
from lmteach.teaching.prompts import load_prompt
from lmteach.teaching.protocol import TeacherResources
from lmteach.teaching.sampling import Sampling
from lmteach.types import Judgement, Scope, Usage, Verdict

if TYPE_CHECKING:
    from lmteach.teaching.causal.generating import GeneratedChoice
    from lmteach.teaching.causal.kinds import Kind
    from lmteach.teaching.causal.scorer import Scorer


@dataclass
class TransformersConfig:
    """Recipe keys of the teacher `transformers`."""

    model: str = weights.SMOLLM2  # package:NAME/PATH, a folder, a .gguf file, or a hub name
    prompt: Any = "likelihood"  # a preset's name, or {kind, user, system, answer, ...}, or {preset, ...}
    normalisation: Literal["mean", "sum"] = "mean"  # of a likelihood, over the label's tokens
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the machine is fast at it
    device: str = "auto"
    max_document_tokens: int = 430  # LMTX
    max_candidate_tokens: int = 64
    batch_tokens: int | None = None  # tokens read at once; None = what suits the device
    adapter: str = ""  # a PEFT adapter's folder
    load_in_4bit: bool = False  # needs bitsandbytes
    answers: Literal["logprobs", "text"] = "logprobs"  # text: written and read, of choice prompts (LlamBERT)
    reader: str = "contains"  # of answers in words: begins, contains, exact
    max_answer_tokens: int = 10  # of an answer in words; so are the next two
    temperature: float = 0.0  # 0 = the likeliest token
    top_k: int = 50
    compile: bool = False  # torch.compile, for long runs on a GPU
    reading: Literal["auto", "shared", "plain"] = "auto"  # plain: one prompt a candidate, slow


class TransformersTeacher:
    """Judges with a causal language model; weights are loaded at the first judgement."""

    Config = TransformersConfig

    def __init__(self, config: TransformersConfig, resources: TeacherResources) -> None:
        self.config = config
        self.prompt = load_prompt(config.prompt)
        self._folder = resources.folder
        self._kind: Kind | None = None
        self._scorer: Scorer | None = None
        self._identity = ""
        self._model: Any = None
        self._sampling = Sampling(config.max_answer_tokens, config.temperature, config.top_k, resources.seed)
        if config.reader not in READERS:
            raise TeacherError(
                f"There is no reader '{config.reader}'.",
                where="teacher.reader",
                nearest=nearest_name(config.reader, READERS),
            )
        for key in ("max_document_tokens", "max_candidate_tokens", "batch_tokens"):
            value = getattr(config, key)
            if value is not None and value < 1:
                raise TeacherError(f"{key} must be at least 1, not {value}.", where="teacher")

    @property
    def identity(self) -> str:
        """Weights by content, prompt, precision, cuts; batch size and the way of reading do not count."""
        if not self._identity:
            from lmteach.machine import choose_precision, device_name

            config = self.config
            parts = [
                "transformers",
                weights.fingerprint(self._source()),
                self.prompt.identity,
                choose_precision(config.precision, device_name(config.device)),
                f"cut{config.max_document_tokens}/{config.max_candidate_tokens}",
            ]
            if self.prompt.kind == "likelihood":
                parts.append(config.normalisation)
            if config.adapter:
                parts.append(f"adapter-{weights.fingerprint(self._adapter())}")
            if config.load_in_4bit:
                parts.append("nf4")
            if config.answers == "text":
                parts += [self._sampling.identity, READERS[config.reader].identity]
            self._identity = " ".join(parts)
        return self._identity

    @property
    def scope(self) -> Scope:
        """A score of `listwise` and `choice` depends on all candidates."""
        return "pair" if self.prompt.kind in ("pointwise", "likelihood") else "list"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """See `lmteach.teaching.protocol.Teacher`."""
        asked = [j for j in batch if j.candidates]
        if self.config.answers == "text":
            said = iter(self._written(asked))
            return [next(said) if j.candidates else Verdict(()) for j in batch]
        kind, scorer = self._loaded()
        start = time.perf_counter()
        scored = kind.score(scorer, asked) if asked else []
        seconds = time.perf_counter() - start
        n_tokens = sum(s.n_tokens for s in scored) or 1
        verdicts = iter(
            Verdict(
                scores=s.scores,
                usage=Usage(prompt_tokens=s.n_tokens, seconds=seconds * s.n_tokens / n_tokens),
                details=s.details,
            )
            for s in scored
        )
        return [next(verdicts) if j.candidates else Verdict(()) for j in batch]

    def close(self) -> None:
        """Free the weights; a later `judge` loads them again."""
        self._scorer = self._kind = self._model = None
        import gc

        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def count_tokens(self, judgements: Sequence[Judgement]) -> int:
        """Return the tokens that the model would read. Needs the tokenizer, not the weights."""
        asked = [j for j in judgements if j.candidates]
        counted = self._generated.count(asked) if self.config.answers == "text" else None
        return sum(self._make_kind().count(asked) if counted is None else counted)

    def flops_per_token(self) -> float:
        """Return the floating-point operations that one token costs, from the model's configuration alone."""
        from lmteach.teaching.causal.cost import flops_per_token

        return flops_per_token(weights.resolve(self.config.model, folder=self._folder))

    def _written(self, asked: Sequence[Judgement]) -> list[Verdict]:
        """Return verdicts on answers in words."""
        if not asked:
            return []
        if self._model is None:
            self._model = self._load()
        from lmteach.teaching.causal.scorer import default_batch_tokens

        start = time.perf_counter()
        n_tokens = self.config.batch_tokens or default_batch_tokens(self._model.device)
        said = self._generated.judge(self._model, asked, n_tokens)
        seconds = (time.perf_counter() - start) / len(said)
        return [replace(v, usage=replace(v.usage, seconds=seconds)) for v in said]

    @cached_property
    def _generated(self) -> GeneratedChoice:
        from lmteach.teaching.causal.generating import GeneratedChoice
        from lmteach.teaching.causal.kinds import Cuts
        from lmteach.teaching.causal.loading import load_tokenizer

        tokenizer = load_tokenizer(weights.resolve(self.config.model, folder=self._folder))
        cuts = Cuts(self.config.max_document_tokens, self.config.max_candidate_tokens)
        return GeneratedChoice(tokenizer, self.prompt, cuts, READERS[self.config.reader], self._sampling)

    def _source(self) -> Path:
        found = weights.locate(self.config.model, folder=self._folder)
        return weights.resolve(self.config.model, folder=self._folder) if found is None else found

    def _adapter(self) -> Path:
        return weights.resolve(self.config.adapter, folder=self._folder)

    def _make_kind(self) -> Kind:
        if self._kind is None:
            from lmteach.teaching.causal.kinds import Cuts, make_kind
            from lmteach.teaching.causal.loading import load_tokenizer

            tokenizer = load_tokenizer(weights.resolve(self.config.model, folder=self._folder))
            cuts = Cuts(self.config.max_document_tokens, self.config.max_candidate_tokens)
            self._kind = make_kind(tokenizer, self.prompt, cuts, self.config.normalisation)
        return self._kind

    def _loaded(self) -> tuple[Kind, Scorer]:
        kind = self._make_kind()
        if self._scorer is None:
            from lmteach.teaching.causal.scorer import Scorer

            config = self.config
            self._scorer = Scorer(
                self._load(), config.batch_tokens, config.reading, compile_parts=config.compile
            )
        return kind, self._scorer

    def _load(self) -> Any:
        from lmteach.teaching.causal.loading import LoadOptions, load_model

        config = self.config
        folder = weights.resolve(config.model, folder=self._folder)
        adapter = self._adapter() if config.adapter else None
        return load_model(folder, LoadOptions(config.device, config.precision, adapter, config.load_in_4bit))
