"""A transformers encoder whose token vectors are pooled to one normalised vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lmteach.students.packed_bert import PackedBert
from lmteach.students.packed_reader import pool_flat
from lmteach.students.protocol import Kind, Reader
from lmteach.students.save import Pooling, save_sentence_transformer
from lmteach.teaching.causal.generic import UnsupportedError


class PooledEncoder(nn.Module):
    """One shared encoder for documents and labels (LMTX, section 3). Legend: B texts, T tokens, D dimensions."""

    def __init__(
        self,
        folder: str,
        *,
        pooling: Pooling = "mean",
        lengths: Mapping[Kind, int],
        dropout: float | None = None,
    ) -> None:
        """Load a model folder or hub name.

        Args:
            lengths: where a text of each kind is cut, in tokens.
            dropout: overrides the model's own; None keeps it.
        """
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.pooling = pooling
        self.lengths = dict(lengths)
        changed = {} if dropout is None else dropout_keys(folder, dropout)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if self.tokenizer.pad_token is None:  # of a language model; masked, so any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32, **changed)
        # BERT's pooler is unused, yet part of the saved model; trainable, its missing gradient would stop DDP.
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler.requires_grad_(False)
        self.positions = n_positions(self.model.config)

    @property
    def dim(self) -> int:
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        if not texts:
            return []
        length = min(self.lengths[kind], self.positions)
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

    def packed(self, precision: Literal["fp32", "bf16"]) -> Reader | None:
        """Return a faster way from token ids to vectors, with the weights as they are now.

        None: there is none for this family or device, or a subclass has a forward of its own.
        """
        if type(self).forward is not PooledEncoder.forward:
            return None
        try:
            reader = PackedBert(self.model, torch.bfloat16 if precision == "bf16" else torch.float32)
        except UnsupportedError:
            return None
        last = int(self.model.config.num_hidden_layers)

        def read(token_ids: Sequence[Sequence[int]]) -> Tensor:
            if self.pooling == "cls":
                return nn.functional.normalize(reader.first(token_ids), dim=-1)
            hidden_ND = reader.layers(token_ids, [last])[last]
            vectors_BD = pool_flat(hidden_ND, [len(ids) for ids in token_ids], self.pooling)
            return nn.functional.normalize(vectors_BD, dim=-1)

        return read

    def _pool(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden_BTD[:, 0]
        if self.pooling == "last":
            last_B = mask_BT.shape[1] - 1 - mask_BT.flip(1).argmax(1)  # right for either padding side
            return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]
        weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
        return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp_min(1e-9)

    def save(self, folder: Path) -> None:
        save_sentence_transformer(
            folder,
            self.model,
            self.tokenizer,
            pooling=self.pooling,
            max_length=min(self.lengths["search"], self.positions),
            dim=self.dim,
        )


def n_positions(config: Any) -> int:
    """Return how many tokens the model has positions for (RoBERTa's two reserved ones taken off)."""
    n = int(getattr(config, "max_position_embeddings", 0) or 1_000_000)
    return n - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else n


def dropout_keys(folder: str, rate: float) -> dict[str, float]:
    """Return the keys of a model's configuration that hold a dropout rate, each set to `rate`."""
    from transformers import AutoConfig

    names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    config = AutoConfig.from_pretrained(folder)
    return {name: rate for name in names if hasattr(config, name)}
