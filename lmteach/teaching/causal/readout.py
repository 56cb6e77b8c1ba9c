"""From hidden states to answer logits and token log-probabilities, in fp32.

bf16 logits are too coarse to rank (ten labels got four to six distinct scores), so only the answer's rows of
the output layer are computed, in fp32; log-probabilities need all rows, but only where a label token is
judged.

Shape legend: W positions, D width, A answer tokens, V vocabulary, T target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_BYTES = 64 << 20  # logits held at once


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
        self._fp32_VD: Tensor | None = None

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
        hidden_WD = hidden_WD.float()
        bias_T = 0.0 if self.bias_V is None else self.bias_V[targets_T].float()
        dot_T = (hidden_WD[at_T] * self.weight_VD[targets_T].float()).sum(-1)
        return self._finish(dot_T + bias_T) - self._log_normaliser(hidden_WD)[at_T]

    def _log_normaliser(self, hidden_WD: Tensor) -> Tensor:
        if self._fp32_VD is None:
            self._fp32_VD = self.weight_VD.float()
        bias_V = None if self.bias_V is None else self.bias_V.float()
        step = max(1, _CHUNK_BYTES // (4 * len(self._fp32_VD)))
        parts = [
            self._finish(F.linear(part, self._fp32_VD, bias_V)).logsumexp(1)
            for part in torch.split(hidden_WD, step)
        ]
        return torch.cat(parts)

    def _finish(self, logits: Tensor) -> Tensor:
        logits = logits * self._scale if self._scale != 1.0 else logits
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap
