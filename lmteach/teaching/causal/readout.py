"""From hidden states to answer logits and token log-probabilities, in fp32.

bf16 logits are too coarse to rank (ten labels got four to six distinct scores), so only the answer's rows of
the output layer are computed, in fp32; log-probabilities need all rows, but only where a label token is
judged.

Shape legend: W positions, D width, A answer tokens, V vocabulary, T target tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmteach.teaching.causal.linear import PackedProjection, can_pack

_CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}  # logits held at once


class Readout:
    """A model's output layer."""

    def __init__(self, model: Any) -> None:
        head = model.get_output_embeddings()
        self.weight_VD: Tensor = head.weight
        self.bias_V: Tensor | None = getattr(head, "bias", None)
        config = model.config
        # Some families scale or cap their logits behind the output layer.
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._scale = float(getattr(config, "logit_scale", None) or 1.0)
        self._scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self._project: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def rows(self, hidden_WD: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Return the logits of some tokens, [W, A], in fp32."""
        ids = torch.tensor(token_ids, device=self.weight_VD.device)
        bias_A = None if self.bias_V is None else self.bias_V[ids].float()
        return self._finish(F.linear(hidden_WD.float(), self.weight_VD[ids].float(), bias_A))

    @torch.inference_mode()
    def log_probs(self, hidden_WD: Tensor, at_T: Tensor, targets_T: Tensor) -> Tensor:
        """Return the log-probability of each target token at its position, [T], in fp32.

        `at_T` are rows of `hidden_WD`; several targets may share one, whose vocabulary is then read once.
        """
        if self._project is None:
            self._project = _all_rows(self.weight_VD, self.bias_V)
        hidden_WD = hidden_WD.float()
        bias_T = 0.0 if self.bias_V is None else self.bias_V[targets_T].float()
        chosen_T = self._finish((hidden_WD[at_T] * self.weight_VD[targets_T].float()).sum(-1) + bias_T)
        chunk = _CHUNK_BYTES.get(hidden_WD.device.type, 64 << 20) // (4 * len(self.weight_VD))
        parts = torch.split(hidden_WD, max(1, chunk))
        total_W = torch.cat([self._finish(self._project(part)).logsumexp(1) for part in parts])
        return chosen_T - total_W[at_T]

    def _finish(self, logits: Tensor) -> Tensor:
        logits = logits * self._scale if self._scale != 1.0 else logits
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap


def _all_rows(weight_VD: Tensor, bias_V: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return the product with the whole output layer: fp32 in, fp32 out."""
    bias = None if bias_V is None else bias_V.float()
    if can_pack(weight_VD.device, torch.float32):
        return PackedProjection(weight_VD.float(), bias)
    if weight_VD.is_cuda and weight_VD.dtype == torch.bfloat16 and bias is None:
        # bf16 factors, fp32 sums: a fifth of the time, and the logits are not rounded.
        return lambda hidden: torch.mm(hidden.to(torch.bfloat16), weight_VD.t(), out_dtype=torch.float32)
    weight = weight_VD.float()
    return lambda hidden: F.linear(hidden, weight, bias)
