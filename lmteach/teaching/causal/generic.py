"""Any transformers decoder on a flat batch: its own code, with our attention put in through its interface.

Serves every architecture whose layers mix tokens in attention alone and call the attention interface. What it
cannot serve (recurrent layers, soft-capped scores, short sliding windows) raises `Unsupported`, or is
found out by the comparison at load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmteach.teaching.causal.attention import Preamble, attend, takes_spans
from lmteach.teaching.causal.layout import Layout, lay_out
from lmteach.teaching.causal.preambles import Preambles
from lmteach.teaching.causal.request import Request, Tokens

ATTENTION = "lmteach_shared_prefix"


class UnsupportedError(Exception):
    """This model cannot be read in a flat batch."""


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    lmteach_layout: Layout | None = None,
    lmteach_preamble: dict[int, Preamble] | None = None,
    lmteach_keep: dict[int, Preamble] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function as transformers calls it: [1, heads, N, width] in, [1, N, heads, width] out."""
    if lmteach_layout is None or attention_mask is not None:
        raise UnsupportedError("the model does not pass our keywords on to its attention")
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise UnsupportedError(f"its attention uses {name}")
    window = options.get("sliding_window")
    if window is not None and int(lmteach_layout.positions.max()) >= window:
        raise UnsupportedError(f"a prompt is longer than its sliding window of {window}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if lmteach_keep is not None:
        lmteach_keep[module.layer_idx] = (k.contiguous(), v.contiguous())
    preamble = lmteach_preamble[module.layer_idx] if lmteach_preamble else None
    return attend(q.contiguous(), k, v, lmteach_layout, scale, preamble)[None], None


class GenericBackbone:
    """Reads layouts with a transformers model's own forward."""

    name = "shared prefix, transformers' own layers"

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, _attention)
        self._model, self._body = model, model.get_decoder()
        config = model.config
        width = getattr(config, "hidden_size", 0) // max(1, getattr(config, "num_attention_heads", 1))
        self._head_width = getattr(config, "head_dim", None) or width
        self._preambles: Preambles[dict[int, Preamble]] = Preambles()

    @torch.inference_mode()
    def hidden(self, requests: Sequence[Request]) -> Tensor:
        """Return the final hidden states at the wanted positions of all requests, in order: [W, width].

        All requests have the same preamble.
        """
        preamble = (
            self._preambles.get(requests[0].preamble, self._read_preamble) if requests[0].n_preamble else None
        )
        return self._read(requests, lmteach_preamble=preamble)

    def _read_preamble(self, tokens: Tokens) -> dict[int, Preamble]:
        kept: dict[int, Preamble] = {}
        self._read([Request(tokens, ((),))], lmteach_keep=kept)
        return kept

    def _read(self, requests: Sequence[Request], **keywords: Any) -> Tensor:
        device, dtype = self._model.device, self._model.dtype
        by_spans = takes_spans(device, dtype, self._head_width)
        layout = lay_out(requests, device=device, dtype=dtype, by_spans=by_spans)
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation(ATTENTION)
        try:
            out = self._body(
                input_ids=layout.ids[None],
                position_ids=layout.positions[None],
                use_cache=False,
                lmteach_layout=layout,
                **keywords,
            )
        finally:
            self._model.set_attn_implementation(before)
        hidden_ND: Tensor = out.last_hidden_state[0]
        return hidden_ND.index_select(0, layout.wanted)
