"""The module of the `mine` encoder. Shape legend: B texts, T tokens, V word pieces, D dimensions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from lmteach.students.protocol import Kind

_WEIGHT = "embedding.weight"  # as sentence-transformers' StaticEmbedding calls it
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
    {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
]


class MineModule(nn.Module):
    """A vector a word piece, trained; a text's vector is their mean, normalised."""

    def __init__(self, folder: str, *, max_tokens: int) -> None:
        """Load what `save` wrote, or the input embeddings of a transformers model (a folder or hub name)."""
        super().__init__()
        self.max_tokens = max_tokens
        self.tokenizer, weight_VD = _load(folder)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.embedding = nn.Embedding.from_pretrained(weight_VD, freeze=False)

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return int(self.embedding.embedding_dim)

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        """Return the token ids of each text; documents and labels are treated alike."""
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids[: self.max_tokens] for encoding in encodings]

    def collate(self, token_ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Pad to the longest: ids and mask, each [B, T]."""
        width = max((len(ids) for ids in token_ids), default=0)
        ids_BT = torch.zeros(len(token_ids), width, dtype=torch.long)
        mask_BT = torch.zeros(len(token_ids), width, dtype=torch.long)
        for row, ids in enumerate(token_ids):
            ids_BT[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask_BT[row, : len(ids)] = 1
        return {"input_ids": ids_BT, "attention_mask": mask_BT}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the normalised vectors [B, D]; zeros for a text without a token."""
        vectors_BTD = self.embedding(batch["input_ids"]).float()
        mask_BT1 = batch["attention_mask"].unsqueeze(-1)
        mean_BD = (vectors_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp_min(1)
        return nn.functional.normalize(mean_BD, dim=-1)

    def save(self, folder: Path) -> None:
        """Write a folder that `SentenceTransformer` loads and that encodes the same."""
        (folder / "1_Normalize").mkdir(parents=True, exist_ok=True)
        save_file({_WEIGHT: self.embedding.weight.detach().contiguous()}, folder / "model.safetensors")
        self.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "modules.json").write_text(json.dumps(_MODULES, indent=2) + "\n", encoding="utf-8")


def _load(folder: str) -> tuple[Tokenizer, Tensor]:
    """Return the tokenizer and the vectors [V, D] of a folder that `save` wrote, or of a transformers model."""
    saved = Path(folder) / "model.safetensors"
    if saved.is_file():
        weights = load_file(saved)
        if set(weights) == {_WEIGHT}:
            return Tokenizer.from_file(str(Path(folder) / "tokenizer.json")), weights[_WEIGHT]
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    weight_VD = AutoModel.from_pretrained(folder).get_input_embeddings().weight.detach().float().clone()
    return tokenizer, weight_VD
