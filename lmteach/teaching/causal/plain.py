"""One prompt a candidate, padded: slow, and right for any causal model. The fallback and the tests'
yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lmteach.teaching.causal.request import Request, Tokens
from lmteach.token_batches import token_batches


class PlainBackbone:
    """Reads whole prompts in padded batches.

    Args:
        model: a transformers causal language model.
        batch_tokens: tokens of a batch, padding included.
        padding: the side that is filled up.
    """

    name = "one prompt a candidate"

    def __init__(self, model: Any, batch_tokens: int, padding: Literal["left", "right"] = "right") -> None:
        self._model, self._body = model, model.get_decoder()
        self.batch_tokens, self.padding = batch_tokens, padding

    @torch.inference_mode()
    def hidden(self, requests: Sequence[Request]) -> Tensor:
        """Return the final hidden states at the wanted positions of all requests, in order: [W, width]."""
        prompts = [(r.prefix + suffix) for r in requests for suffix in r.suffixes]
        wanted = [positions for r in requests for positions in _wanted(r)]
        found: list[Tensor] = [torch.empty(0)] * len(prompts)
        for batch in token_batches([len(prompt) for prompt in prompts], self.batch_tokens):
            hidden, starts = self._read([prompts[i] for i in batch])
            for row, i in enumerate(batch):
                at = torch.tensor(wanted[i], dtype=torch.long, device=hidden.device)
                found[i] = hidden[row].index_select(0, at + starts[row])
        return torch.cat(found)

    def _read(self, prompts: Sequence[Tokens]) -> tuple[Tensor, list[int]]:
        """Return hidden states [rows, tokens, width], and where each row's prompt begins."""
        longest = max(map(len, prompts))
        starts = [longest - len(p) if self.padding == "left" else 0 for p in prompts]
        ids = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
            ids[row, start : start + len(prompt)] = torch.tensor(prompt)
            mask[row, start : start + len(prompt)] = 1
        positions = (mask.cumsum(1) - 1).clamp_(min=0)
        out = self._body(
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            position_ids=positions.to(self._model.device),
            use_cache=False,
        )
        return out.last_hidden_state, starts


def _wanted(request: Request) -> Iterator[list[int]]:
    """Yield for each suffix the positions that its own prompt provides."""
    behind = len(request.prefix) - 1
    for i, suffix in enumerate(request.suffixes):
        if request.read == "last":
            yield [behind + len(suffix)]
        else:
            # The prefix's last position is the same for all; the first prompt gives it.
            yield list(range(behind if i == 0 else behind + 1, behind + len(suffix) + 1))
