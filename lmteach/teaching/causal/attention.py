"""Attention over a flat batch: to the common preamble and to the prefix without a mask, to oneself causally.

Shape legend: N tokens, R queries, H heads, J key-value heads, G = H/J, D head width, K keys of a block,
E tokens of the common preamble, S suffix tokens, W wanted positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmteach.teaching.causal.layout import Block, Layout, Spans

Preamble = tuple[Tensor, Tensor]
"""One layer's keys and values of the common preamble, [E, J, D] each."""


def attend(
    q_NHD: Tensor, k_NJD: Tensor, v_NJD: Tensor, layout: Layout, scale: float, preamble: Preamble | None
) -> Tensor:
    """Return the attention output of every token, [N, H, D]."""
    if layout.spans is not None:
        return _attend_spans(q_NHD, k_NJD, v_NJD, layout.spans, layout.n_prefix, scale, preamble)
    return attend_blocks(q_NHD, k_NJD, v_NJD, layout.blocks, scale, preamble)


def attend_wanted(
    q_NHD: Tensor, k_NJD: Tensor, v_NJD: Tensor, layout: Layout, scale: float, preamble: Preamble | None
) -> Tensor:
    """Return the attention output of the wanted positions alone, [W, H, D]: all that a last layer needs."""
    if layout.spans is not None:
        return attend(q_NHD, k_NJD, v_NJD, layout, scale, preamble).index_select(0, layout.wanted)
    q_WHD = q_NHD.index_select(0, layout.wanted)
    return attend_blocks(q_WHD, k_NJD, v_NJD, layout.last_blocks, scale, preamble)


def attend_blocks(
    q_RHD: Tensor,
    k_NJD: Tensor,
    v_NJD: Tensor,
    blocks: tuple[Block, ...],
    scale: float,
    preamble: Preamble | None,
) -> Tensor:
    """Attend block by block with plain matrix products, on any device.

    On a CPU this takes half the time of torch's fused kernel, which gains nothing from causality below 512
    keys.
    """
    n_heads, width = q_RHD.shape[1:]
    n_kv = k_NJD.shape[1]
    group = n_heads // n_kv
    out_RHD = q_RHD.new_empty(q_RHD.shape)
    out_RJGD = out_RHD.view(-1, n_kv, group, width)
    q_RJGD = (q_RHD * scale if scale != 1.0 else q_RHD).unflatten(1, (n_kv, group))
    before_k, before_v = preamble or (None, None)
    for block in blocks:
        n_rows, n_own = block.mask.shape
        q_JMD = q_RJGD[block.rows].permute(1, 2, 0, 3).reshape(n_kv, group * n_rows, width)
        k_KJD, v_KJD = _keys(k_NJD, block, before_k), _keys(v_NJD, block, before_v)
        s_JMK = torch.bmm(q_JMD, k_KJD.permute(1, 2, 0))
        if n_own:
            s_JMK.view(n_kv, group, n_rows, -1)[..., -n_own:].add_(block.mask)
        o_JMD = torch.bmm(torch.softmax(s_JMK, dim=-1), v_KJD.transpose(0, 1))
        out_RJGD[block.rows] = o_JMD.view(n_kv, group, n_rows, width).permute(2, 0, 1, 3)
    return out_RHD


def _keys(x_NJD: Tensor, block: Block, before_EJD: Tensor | None) -> Tensor:
    """Return the keys (or values) of a block, its own last: preamble, past, own."""
    if block.past.stop == block.own.start:
        parts = [x_NJD[block.past.start : block.own.stop]]
    else:
        parts = [x_NJD[block.past], x_NJD[block.own]]
    if before_EJD is not None:
        parts.insert(0, before_EJD)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def takes_spans(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    """Whether torch has its flash kernel for cumulative lengths there."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16) and head_width <= 256


def _attend_spans(
    q_NHD: Tensor,
    k_NJD: Tensor,
    v_NJD: Tensor,
    spans: Spans,
    n_prefix: int,
    scale: float,
    preamble: Preamble | None,
) -> Tensor:
    """Attend with the flash kernel for cumulative lengths, part by part, and merge the parts, which is exact.

    The parts: every prefix and suffix to itself; the suffixes to their prefix; all to the preamble.
    """
    n = n_prefix
    own = (spans.own, spans.max_own)
    out_NHD, lse_HN = _flash(q_NHD, k_NJD, v_NJD, own, own, scale, causal=True)
    if n < len(q_NHD):
        queries, keys = (spans.suffixes, spans.max_suffixes), (spans.prefixes, spans.max_prefix)
        past = _flash(q_NHD[n:], k_NJD[:n], v_NJD[:n], queries, keys, scale, causal=False)
        out_NHD[n:], lse_HN[:, n:] = _merged((out_NHD[n:], lse_HN[:, n:]), past)
    if preamble is not None:
        one = [
            torch.tensor([0, len(x)], dtype=torch.int32, device=q_NHD.device) for x in (q_NHD, preamble[0])
        ]
        edges = (one[0], len(q_NHD)), (one[1], len(preamble[0]))
        out_NHD, _ = _merged((out_NHD, lse_HN), _flash(q_NHD, *preamble, *edges, scale, causal=False))
    return out_NHD


def _merged(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Join attention over two sets of keys, each (output [R, H, D], log-sum-exp [H, R])."""
    share_RH1 = torch.sigmoid(b[1] - a[1]).t()[..., None].to(a[0].dtype)
    return torch.lerp(a[0], b[0], share_RH1), torch.logaddexp(a[1], b[1])


def _flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: tuple[Tensor, int],
    keys: tuple[Tensor, int],
    scale: float,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Return (output [R, H, D], log-sum-exp [H, R] in fp32). Fewer key-value heads than heads are allowed.

    `queries` and `keys` are cumulative lengths with the longest one.
    """
    # torch's public wrapper changed its arguments in each release since 2.10; the operator below did not.
    out = torch.ops.aten._flash_attention_forward(
        q, k, v, queries[0], keys[0], queries[1], keys[1], 0.0, causal, False, scale=scale
    )
    return out[0], out[1]
