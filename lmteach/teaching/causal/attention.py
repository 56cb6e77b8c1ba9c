"""Attention over a flat batch: prefixes causally, suffixes to their prefix without a mask and to themselves.

Shape legend: N tokens, R queries, H heads, J key-value heads, G = H/J, D head width, K keys of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmteach.teaching.causal.layout import Block, Layout


def attend(q_RHD: Tensor, k_NJD: Tensor, v_NJD: Tensor, layout: Layout, scale: float) -> Tensor:
    """Return the attention output [R, H, D].

    R is N (all tokens attend) or W (the wanted positions alone, as in a model's last layer).
    """
    all_rows = q_RHD.shape[0] == layout.n_tokens
    return attend_blocks(q_RHD, k_NJD, v_NJD, layout.blocks if all_rows else layout.last_blocks, scale)


def attend_blocks(
    q_RHD: Tensor, k_NJD: Tensor, v_NJD: Tensor, blocks: tuple[Block, ...], scale: float
) -> Tensor:
    """Attend block by block with plain matrix products: on a CPU twice as fast as its fused kernel.

    The fused kernel gains nothing from causality below 512 keys, and cannot skip other documents.
    """
    n_heads, width = q_RHD.shape[1:]
    n_kv = k_NJD.shape[1]
    group = n_heads // n_kv
    out_RHD = torch.empty_like(q_RHD)
    out_RJGD = out_RHD.view(-1, n_kv, group, width)
    q_RJGD = (q_RHD * scale).view(-1, n_kv, group, width)
    for block in blocks:
        n_rows, n_own = block.mask_RO.shape
        q_JMD = q_RJGD[block.rows].permute(1, 2, 0, 3).reshape(n_kv, group * n_rows, width)
        k_KJD, v_KJD = _keys(k_NJD, block), _keys(v_NJD, block)
        s_JMK = torch.bmm(q_JMD, k_KJD.permute(1, 2, 0))
        if n_own:
            s_JMK.view(n_kv, group, n_rows, -1)[..., -n_own:].add_(block.mask_RO)
        p_JMK = torch.softmax(s_JMK, dim=-1)
        o_JMD = torch.bmm(p_JMK, v_KJD.transpose(0, 1))
        out_RJGD[block.rows] = o_JMD.view(n_kv, group, n_rows, width).permute(2, 0, 1, 3)
    return out_RHD


def _keys(x_NJD: Tensor, block: Block) -> Tensor:
    if block.past.stop == block.own.start:
        return x_NJD[block.past.start : block.own.stop]
    return torch.cat((x_NJD[block.past], x_NJD[block.own]))
