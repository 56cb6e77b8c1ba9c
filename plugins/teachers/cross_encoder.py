"""Teacher `cross_encoder`: a model that reads document and candidate together and gives them a score."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lmteach import weights
from lmteach.errors import RecipeError
from lmteach.machine import choose_precision, device_name
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Judgement, Scope, Usage, Verdict

if TYPE_CHECKING:
    from lmteach.teaching.pair_scorer import PairScorer, PairTokenizer, Reading


@dataclass
class CrossEncoderConfig:
    """Recipe keys of the teacher `cross_encoder`."""

    model: str = ""  # package:NAME/PATH, a folder, or a hub name (cross-encoder/ms-marco-MiniLM-L6-v2)
    template: str = (
        "{candidate}"  # of what stands beside the document; NLI: "This text is about {candidate}."
    )
    # What is read first. auto: the document for NLI models (premise, hypothesis), the candidate for rerankers
    # (query, passage).
    first: Literal["auto", "document", "candidate"] = "auto"
    positive: str = ""  # the class that means relevant, in a model with several; empty = found by its name
    max_tokens: int = 512  # of a pair; the document is cut, never the candidate
    max_candidate_tokens: int = 64
    batch_tokens: int | None = None  # tokens read at once, padding included; None = what suits the device
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"


class CrossEncoderTeacher:
    """Judges pairs with a sequence classifier of transformers; weights are loaded at the first judgement.

    A score is the log-odds of relevance: the logit of a model with one output (a reranker); entailment minus
    contradiction of an NLI model; the positive class against all others of any other.
    """

    Config = CrossEncoderConfig

    def __init__(self, config: CrossEncoderConfig, resources: TeacherResources) -> None:
        self.config = config
        self._folder = resources.folder
        self._tokenizer: PairTokenizer | None = None
        self._scorer: tuple[PairScorer, Reading] | None = None
        self._identity = ""
        if not config.model:
            raise RecipeError("The teacher cross_encoder needs a model.", where="teacher.model")
        if config.template.count("{candidate}") != 1:
            raise RecipeError("It must hold {candidate} exactly once.", where="teacher.template")
        for key in ("max_tokens", "max_candidate_tokens", "batch_tokens"):
            value = getattr(config, key)
            if value is not None and value < 1:
                raise RecipeError(f"It must be at least 1, not {value}.", where=f"teacher.{key}")

    @property
    def identity(self) -> str:
        """Weights by content, template, order, class, precision, cuts; batch size does not count."""
        if not self._identity:
            config = self.config
            precision = choose_precision(config.precision, device_name(config.device))
            source = weights.locate(config.model, folder=self._folder) or self._model()
            parts = ["cross_encoder", weights.fingerprint(source), repr(config.template), config.first]
            parts += [f"positive={config.positive}"] * bool(config.positive)
            parts += [precision, f"cut{config.max_tokens}/{config.max_candidate_tokens}"]
            self._identity = " ".join(parts)
        return self._identity

    @property
    def scope(self) -> Scope:
        """Each pair is read by itself."""
        return "pair"

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        """See `lmteach.teaching.protocol.Teacher`."""
        pairs = self._pairs(batch)
        if not pairs:
            return [Verdict(()) for _ in batch]
        (scorer, reading), tokenizer = self._loaded(), self._tokens()
        start = time.perf_counter()
        rows = tokenizer.rows(pairs)
        scores = scorer.score(tokenizer, rows, reading)
        n_tokens = [len(row["input_ids"]) for row in rows]
        seconds = (time.perf_counter() - start) / sum(n_tokens)
        verdicts, at = [], 0
        for judgement in batch:
            own = slice(at, at := at + len(judgement.candidates))
            n = sum(n_tokens[own])
            verdicts.append(Verdict(tuple(scores[own]), usage=Usage(n, seconds=n * seconds)))
        return verdicts

    def close(self) -> None:
        """Free the weights; a later `judge` loads them again."""
        self._scorer = self._tokenizer = None
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def count_tokens(self, judgements: Sequence[Judgement]) -> int:
        """Return the tokens that the model would read. Needs the tokenizer, not the weights."""
        return sum(len(row["input_ids"]) for row in self._tokens().rows(self._pairs(judgements)))

    def _pairs(self, batch: Sequence[Judgement]) -> list[tuple[str, str]]:
        template = self.config.template
        return [(j.document, template.replace("{candidate}", c)) for j in batch for c in j.described]

    def _model(self) -> Path:
        return weights.resolve(self.config.model, folder=self._folder)

    def _tokens(self) -> PairTokenizer:
        if self._tokenizer is None:
            from lmteach.teaching.pair_scorer import PairTokenizer, load_config

            config, folder = self.config, self._model()
            self._tokenizer = PairTokenizer(
                folder, load_config(folder), config.first, config.max_tokens, config.max_candidate_tokens
            )
        return self._tokenizer

    def _loaded(self) -> tuple[PairScorer, Reading]:
        if self._scorer is None:
            from lmteach.teaching.pair_scorer import PairScorer, Reading, load_config

            config, folder = self.config, self._model()
            reading = Reading(load_config(folder), config.positive)
            self._scorer = PairScorer(folder, config.device, config.precision, config.batch_tokens), reading
        return self._scorer
