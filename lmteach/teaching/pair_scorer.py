"""Scores pairs of texts with a sequence classifier that reads both together. Imports torch.

Shape legend: B pairs, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lmteach.errors import TeacherError, nearest_name
from lmteach.machine import Precision, choose_precision, device_name
from lmteach.teaching.causal.loading import load_tokenizer
from lmteach.teaching.causal.scorer import is_out_of_memory
from lmteach.token_batches import token_batches

log = logging.getLogger(__name__)

First = Literal["auto", "document", "candidate"]
Pair = tuple[str, str]  # document, candidate
Row = dict[str, list[int]]

_CHARS_PER_TOKEN = 24  # more than any text has; bounds the time that a huge document costs
_FEWEST_TOKENS = 16
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")  # count from behind their padding token


def load_config(folder: Path) -> Any:
    """Return a model's configuration.

    Raises:
        TeacherError: there is none, or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except Exception as error:  # from three libraries
        raise TeacherError(f"The model in {folder} cannot be loaded: {error}") from error


class Reading:
    """How a classifier's outputs become log-odds of relevance.

    Args:
        config: the model's configuration, which names its classes.
        positive: the class that means relevant; empty = found by its name.

    Raises:
        TeacherError: no class of that name, or it takes a person to say which class means relevant.
    """

    def __init__(self, config: Any, positive: str = "") -> None:
        names = [str(config.id2label[i]) for i in range(config.num_labels)]
        low = [name.casefold() for name in names]
        self._n = len(names)
        self.is_nli = "entailment" in low
        self._positive = 0
        self._against: int | None = None
        if self._n == 1:
            return
        if positive:
            if positive.casefold() not in low:
                raise TeacherError(
                    f"The model has no class '{positive}', but {', '.join(names)}.",
                    where="teacher.positive",
                    nearest=nearest_name(positive, names),
                )
            self._positive = low.index(positive.casefold())
        elif self.is_nli:
            self._positive = low.index("entailment")
            self._against = low.index("contradiction") if "contradiction" in low else None
        else:
            raise TeacherError(
                f"Which of the model's classes means relevant: {', '.join(names)}?",
                mend=f"Name it: teacher.positive={names[-1]}",
            )

    def scores(self, logits_BC: Tensor) -> Tensor:
        """Return log-odds, [B]: the one logit, entailment minus contradiction, or one class against the rest."""
        positive_B = logits_BC[:, self._positive]
        if self._n == 1:
            return positive_B
        if self._against is not None:
            return positive_B - logits_BC[:, self._against]
        others = [i for i in range(self._n) if i != self._positive]
        return positive_B - logits_BC[:, others].logsumexp(1)


class PairTokenizer:
    """Makes a pair's tokens: cuts the document to what the candidate leaves of the room.

    Args:
        folder: the model's folder.
        config: its configuration.
        first: which text is read first; "auto" = the document by NLI models, which expect a premise and a
            hypothesis, the candidate by others, which expect a query and a passage.
        max_tokens: of a pair.
        max_candidate_tokens: of a candidate.
    """

    def __init__(
        self, folder: Path, config: Any, first: First, max_tokens: int, max_candidate_tokens: int
    ) -> None:
        self._tokenizer = load_tokenizer(folder)
        is_nli = "entailment" in (str(name).casefold() for name in config.id2label.values())
        self._document_first = first == "document" or (first == "auto" and is_nli)
        limit = getattr(config, "max_position_embeddings", None) or 1 << 20
        if config.model_type in _OFFSET_POSITIONS:
            limit -= config.pad_token_id + 1
        self._max_tokens = int(min(max_tokens, limit, self._tokenizer.model_max_length))
        self._max_candidate = max(1, min(max_candidate_tokens, self._max_tokens // 2))

    def rows(self, pairs: Sequence[Pair]) -> list[Row]:
        """Return each pair's tokens and what else the model wants, not padded."""
        if not pairs:
            return []
        candidates = self._cut([candidate for _, candidate in pairs])
        documents = [document[: self._max_tokens * _CHARS_PER_TOKEN] for document, _ in pairs]
        one, two = (documents, candidates) if self._document_first else (candidates, documents)
        found = self._tokenizer(
            one,
            two,
            truncation="only_first" if self._document_first else "only_second",
            max_length=self._max_tokens,
            split_special_tokens=True,  # "[SEP]" inside a document is text
        )
        return [{name: values[i] for name, values in found.items()} for i in range(len(pairs))]

    def pad(self, rows: Sequence[Row]) -> Any:
        """Return rows as one batch of tensors."""
        return self._tokenizer.pad(list(rows), return_tensors="pt")

    def _cut(self, texts: Sequence[str]) -> list[str]:
        """Cut candidates behind so many tokens, at the character where the last of them ends."""
        n = self._max_candidate
        texts = [text[: n * _CHARS_PER_TOKEN] for text in texts]
        unique = list(dict.fromkeys(texts))
        options = {"add_special_tokens": False, "return_offsets_mapping": True, "split_special_tokens": True}
        spans = self._tokenizer(unique, **options)["offset_mapping"]
        cut = {t: t if len(own) <= n else t[: own[n - 1][1]] for t, own in zip(unique, spans, strict=True)}
        return [cut[text] for text in texts]


class PairScorer:
    """A loaded classifier.

    Args:
        folder: the model's folder.
        device: "auto" or what torch calls it.
        precision: of the encoder; the small layers behind it stay in fp32, as bf16 scores are too coarse to rank.
        batch_tokens: tokens read at once, padding included; None = what suits the device.

    Raises:
        TeacherError: it cannot be loaded, or is an encoder without a trained output layer.
    """

    def __init__(self, folder: Path, device: str, precision: Precision, batch_tokens: int | None) -> None:
        from transformers import AutoModelForSequenceClassification

        self._device = device_name(device)
        try:
            model, told = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # from four libraries
            raise TeacherError(f"The model in {folder} cannot be loaded: {error}") from error
        if told["missing_keys"]:
            raise TeacherError(
                f"The model in {folder} has no trained output layer ({min(told['missing_keys'])} is missing).",
                mend="Name a reranker or an NLI model, not a plain encoder.",
            )
        self._model = model.eval().requires_grad_(False).to(self._device)
        if choose_precision(precision, self._device) == "bf16":
            _narrow(self._model)
        self.batch_tokens = batch_tokens or (2048 if self._device == "cpu" else 65536)

    def score(self, tokenizer: PairTokenizer, rows: Sequence[Row], reading: Reading) -> list[float]:
        """Return each row's score, in order. Out of memory halves the batch and goes on."""
        lengths = [len(row["input_ids"]) for row in rows]
        scores = [0.0] * len(rows)
        waiting = [list(range(len(rows)))]
        while waiting:
            batch = waiting.pop()
            own = [lengths[i] for i in batch]
            parts = list(token_batches(own, self.batch_tokens))
            if len(parts) > 1:  # also where the budget shrank since the batch was made
                waiting += [[batch[j] for j in part] for part in reversed(parts)]
                continue
            try:
                logits_BC = self._logits(tokenizer.pad([rows[i] for i in batch]))
            except (RuntimeError, MemoryError) as error:
                self._shrink(error, len(own) * max(own))
                waiting.append(batch)
                continue
            for i, score in zip(batch, reading.scores(logits_BC).tolist(), strict=True):
                scores[i] = score
        return scores

    @torch.inference_mode()
    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = {name: values.to(self._device) for name, values in batch.items()}
        logits_BC: Tensor = self._model(**inputs).logits
        return logits_BC.float().cpu()

    def _shrink(self, error: BaseException, n_tokens: int) -> None:
        """Halve the budget below `n_tokens` where memory ran out; raise any other error."""
        if not is_out_of_memory(error):
            raise error
        smaller = min(self.batch_tokens, n_tokens) // 2
        if smaller < _FEWEST_TOKENS:
            raise TeacherError(
                f"Out of memory with {self.batch_tokens} tokens at once.",
                mend="Use a smaller model, a lower max_tokens, or more memory.",
            ) from error
        log.warning("out of memory: reading %d tokens at once instead of %d", smaller, self.batch_tokens)
        self.batch_tokens = smaller


def _narrow(model: Any) -> None:
    """Put the encoder inside a classifier into bf16, and let the layers behind it work in fp32."""
    base = model.base_model
    if base is model:
        return
    base.to(torch.bfloat16)
    for child in model.children():
        if child is not base:
            child.register_forward_pre_hook(_in_fp32)


def _in_fp32(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs)
