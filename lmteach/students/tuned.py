"""A classifier whose encoder is tuned, in full or by LoRA: transformers' own sequence classification.

Shape legend: B texts, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lmteach.errors import RecipeError, TeacherError
from lmteach.recipe.schema import LoraSection
from lmteach.students.class_student import ClassCard
from lmteach.students.packed_bert import PackedBert, head_on_first
from lmteach.students.pooled_encoder import dropout_keys, n_positions
from lmteach.students.protocol import Reader
from lmteach.students.room import TokenIds
from lmteach.teaching.causal.generic import UnsupportedError
from lmteach.tracking.console import Console


@dataclass(frozen=True)
class TokenInputs:
    """n texts as token ids, padded a batch at a time."""

    tokenizer: Any
    token_ids: TokenIds

    @property
    def lengths_n(self) -> npt.NDArray[np.int64]:
        return self.token_ids.lengths_n

    def ids(self, positions: Sequence[int]) -> list[list[int]]:
        return [self.token_ids[i] for i in positions]

    def collate(self, positions: Sequence[int]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad({"input_ids": self.ids(positions)}, return_tensors="pt")
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


class SequenceBody(nn.Module):
    """A transformers model for sequence classification, seen as inputs -> logits [B, C]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits_BC: Tensor = self.model(**inputs).logits
        return logits_BC


class TunedStudent:
    """An encoder with a classification head.

    Args:
        folder: of the weights to start from; a classifier's own folder goes on from its head too.
        card: classes, and where a text is cut.
        lora: adapters to train instead of all weights; None = all weights.
        dropout: overrides the model's own; None keeps it.

    Raises:
        TeacherError: the weights cannot be loaded as a classifier.
        RecipeError: the adapters do not fit the model.
    """

    def __init__(
        self,
        folder: Path,
        card: ClassCard,
        *,
        lora: LoraSection | None = None,
        dropout: float | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        self.card = card
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            if self.tokenizer.pad_token is None:  # of a language model; masked, so any token will do
                self.tokenizer.pad_token = self.tokenizer.eos_token
            model = _load(folder, card, {} if dropout is None else dropout_keys(str(folder), dropout))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise TeacherError(f"The model in {folder} cannot be loaded as a classifier: {error}") from error
        model.config.pad_token_id = self.tokenizer.pad_token_id
        self.max_tokens = min(card.max_tokens, n_positions(model.config))
        self._body = SequenceBody(model if lora is None else _with_adapters(model, lora))

    @property
    def body(self) -> nn.Module:
        return self._body

    def read(self, texts: Sequence[str], console: Console) -> TokenInputs:
        return TokenInputs(self.tokenizer, TokenIds(self._tokenize, texts))

    def packed(self, precision: Literal["fp32", "bf16"]) -> Reader | None:
        """Return a faster way from token ids to logits [B, C], with the weights as they are now.

        None: there is none for this family or device, or adapters are being trained.
        """
        model = self._body.model
        try:
            head = head_on_first(model)
            encoder = PackedBert(model.base_model, torch.bfloat16 if precision == "bf16" else torch.float32)
        except UnsupportedError:
            return None
        return lambda token_ids: head(encoder.first(token_ids))

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_attention_mask=False
        )["input_ids"]
        return found

    def prepare(self, inputs: Any, n: int) -> None:
        """Nothing: tokens need no statistics."""

    def save(self, folder: Path) -> None:
        """Write a folder that transformers loads by itself; adapters are merged in, and lie beside it too."""
        folder.mkdir(parents=True, exist_ok=True)
        model = self._body.model
        if hasattr(model, "merge_and_unload"):
            model.save_pretrained(folder / "adapter")
            model = _merged(model)
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.card.save(folder)


def _load(folder: Path, card: ClassCard, changed: Mapping[str, float]) -> Any:
    from transformers import AutoModelForSequenceClassification

    names = dict(enumerate(card.labels))
    noisy = logging.getLogger("transformers.modeling_utils")
    level = noisy.level
    noisy.setLevel(logging.ERROR)  # it warns that the head is new, which is the point
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            id2label=names,
            label2id={name: i for i, name in names.items()},
            num_labels=len(names),
            problem_type="multi_label_classification" if card.multilabel else "single_label_classification",
            **changed,
        )
    finally:
        noisy.setLevel(level)


def _with_adapters(model: Any, lora: LoraSection) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or None,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise RecipeError(
            f"These adapters do not fit the model: {error}",
            where="student.lora.targets",
            mend="Name the linear layers to adapt, say [query, value] or [q_proj, v_proj].",
        ) from error


def _merged(model: Any) -> Any:
    """Return a copy with the adapters folded in; the model itself goes on as it is."""
    import copy

    return copy.deepcopy(model).merge_and_unload()
