"""Hidden states of frozen models by our own forwards: no padding, packed weights.

Shape legend: N tokens of all texts in one row, B texts, C width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lmteach.students.packed_bert import FAMILIES, PackedBert
from lmteach.teaching.causal.attention import attend
from lmteach.teaching.causal.llama import LlamaBackbone
from lmteach.teaching.causal.request import Request


class PackedReader(Protocol):
    """Reads texts and gives any layer's hidden states at every token."""

    def layers(self, token_ids: Sequence[Sequence[int]], wanted: Sequence[int]) -> Mapping[int, Tensor]:
        """Return [N, C] of each wanted layer in fp32, numbered as transformers' `hidden_states`, text after text."""


def packed_reader(model: Any) -> PackedReader:
    """Return a reader of a model with its weights as they are now, in its own dtype.

    Raises:
        UnsupportedError: the model is of a family that we have no forward for, or has something unusual.
    """
    return PackedBert(model, model.dtype) if model.config.model_type in FAMILIES else PackedLlama(model)


class PackedLlama(LlamaBackbone):
    """A Llama-shaped decoder, read by the teacher's own forward.

    Raises:
        UnsupportedError: the model is of another family, or has something unusual.
    """

    @torch.inference_mode()
    def layers(self, token_ids: Sequence[Sequence[int]], wanted: Sequence[int]) -> Mapping[int, Tensor]:
        """Return [N, C] of each wanted layer, numbered as transformers' `hidden_states`, text after text.

        Layers behind the last wanted one are not computed.
        """
        layout = self._lay_out([Request(tuple(ids), ((),)) for ids in token_ids])
        x_NC = self._embed(layout.ids).float()
        cos, sin = self._rotary(x_NC.to(self.dtype), layout.positions[None])
        half = self.head_width // 2
        turn = cos[0][:, None], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)[:, None]
        found = {0: x_NC.clone()} if 0 in wanted else {}
        for i, layer in enumerate(self._layers[: max(wanted)], start=1):
            q, k, v = self._qkv(layer, x_NC, *turn)
            a_NHD = attend(q, k, v, layout, self.head_width**-0.5, None)
            x_NC += layer.out(a_NHD.flatten(1))
            x_NC += layer.down(layer.gate(self._normed(x_NC, layer.between, self.eps, self.dtype)))
            if i in wanted:
                last = i == len(self._layers)  # whose states transformers gives behind the final norm
                found[i] = self._normed(x_NC, self._norm_C, self.eps, torch.float32) if last else x_NC.clone()
        return found


def pool_flat(x_NC: Tensor, lengths: Sequence[int], pooling: str) -> Tensor:
    """Return one vector a text, [B, C], from tokens that stand in one row."""
    lengths_B = torch.tensor(lengths, device=x_NC.device)
    ends_B = lengths_B.cumsum(0)
    if pooling == "first":
        return x_NC[ends_B - lengths_B]
    if pooling == "last":
        return x_NC[ends_B - 1]
    owner_N = torch.repeat_interleave(torch.arange(len(lengths), device=x_NC.device), lengths_B)
    sums_BC = x_NC.new_zeros(len(lengths), x_NC.shape[1]).index_add_(0, owner_N, x_NC)
    return sums_BC / lengths_B[:, None]
