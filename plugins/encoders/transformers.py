"""Any encoder that transformers loads, pooled to one normalised vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lmteach.students.protocol import Kind


class TransformersEncoder(nn.Module):
    """One shared encoder for documents and labels (LMTX, section 3). Legend: B texts, T tokens, D dimensions."""

    @dataclass
    class Config:
        """`model`: a hub name, a folder, or `package:NAME/FOLDER` of an installed package of weights.

        The three lengths cut a document in training, a document in search, and a label, in tokens.
        """

        model: str = "sentence-transformers/msmarco-distilbert-base-v4"
        pooling: Literal["mean", "cls", "last"] = "mean"
        document_length: int = 450
        search_length: int = 430
        label_length: int = 15
        dropout: float | None = None  # None: as the model was trained

    def __init__(self, config: Config) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        from lmteach.weights import resolve

        self.config = config
        folder = resolve(config.model)
        changed = {} if config.dropout is None else _dropout_keys(folder, config.dropout)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32, **changed)
        # The pooler head is unused: left in, its missing gradient would stop DDP.
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None
        self.positions = _positions(self.model.config)

    @property
    def dim(self) -> int:
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        wanted = {
            "document": self.config.document_length,
            "search": self.config.search_length,
            "label": self.config.label_length,
        }[kind]
        if not texts:
            return []
        length = min(wanted, self.positions)
        ids: list[list[int]] = self.tokenizer(
            list(texts), truncation=True, max_length=length, return_attention_mask=False
        )["input_ids"]
        return ids

    def collate(self, token_ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad({"input_ids": [list(ids) for ids in token_ids]}, return_tensors="pt")
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        hidden_BTD = self.model(**batch).last_hidden_state.float()
        return nn.functional.normalize(self._pool(hidden_BTD, batch["attention_mask"]), dim=-1)

    def _pool(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.config.pooling == "cls":
            return hidden_BTD[:, 0]
        if self.config.pooling == "last":
            last_B = mask_BT.shape[1] - 1 - mask_BT.flip(1).argmax(1)  # right for either padding side
            return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]
        weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
        return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp_min(1e-9)

    def save(self, folder: Path) -> None:
        from lmteach.students.save import save_sentence_transformer

        save_sentence_transformer(
            folder,
            self.model,
            self.tokenizer,
            pooling=self.config.pooling,
            max_length=min(self.config.search_length, self.positions),
            dim=self.dim,
        )


def _positions(config: Any) -> int:
    """Return how many tokens the model has positions for (RoBERTa's two reserved ones taken off)."""
    n = int(getattr(config, "max_position_embeddings", 0) or 1_000_000)
    return n - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else n


def _dropout_keys(folder: str, rate: float) -> dict[str, float]:
    from transformers import AutoConfig

    names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    config = AutoConfig.from_pretrained(folder)
    return {name: rate for name in names if hasattr(config, name)}
