"""Our own forward for Llama-shaped decoders: Llama, SmolLM2, Mistral, Qwen2, Qwen3.

The same numbers as transformers' forward, in less time: products with packed weights, query, key and value as
one, norms folded into the weights on a CPU, and in the last layer nothing computed but what is wanted.
The residual is kept in fp32, so that bf16 ranks better.

Shape legend: N tokens, W wanted positions, C width, H heads, J key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmteach.teaching.causal.attention import Preamble, attend, attend_wanted, takes_spans
from lmteach.teaching.causal.generic import UnsupportedError
from lmteach.teaching.causal.layout import Layout, lay_out
from lmteach.teaching.causal.linear import (
    Gate,
    PackedGate,
    PackedProjection,
    PlainGate,
    PlainProjection,
    Projection,
    can_pack,
    gated,
)
from lmteach.teaching.causal.preambles import Preambles
from lmteach.teaching.causal.request import Request, Tokens

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class _Layer:
    qkv: Projection
    out: Projection
    gate: Gate
    down: Projection
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    before: Tensor | None = None  # the norms' weights, where the products do not hold them
    between: Tensor | None = None


class LlamaBackbone:
    """Reads layouts with our own forward.

    Raises:
        UnsupportedError: another family, or one of these with something unusual.
    """

    name = "shared prefix, packed weights"

    def __init__(self, model: Any, *, compile_parts: bool = False) -> None:
        config, body = model.config, model.get_decoder()
        _check(config, body)
        self.device, self.dtype = model.device, model.dtype
        self.n_heads, self.n_kv = config.num_attention_heads, config.num_key_value_heads
        self.head_width = getattr(config, "head_dim", None) or config.hidden_size // self.n_heads
        self.eps = config.rms_norm_eps
        window = getattr(config, "sliding_window", None)
        self._window = window if getattr(config, "use_sliding_window", True) else None
        self._embed, self._rotary = body.embed_tokens, body.rotary_emb
        compiled: Callable[[Any], Any] = torch.compile(dynamic=True) if compile_parts else lambda part: part
        self._rotate, self._normed, self._gated = compiled(rotate), compiled(normed), compiled(gated)
        self._layers = [self._prepare(layer) for layer in body.layers]
        self._norm_C = body.norm.weight.float()
        self._preambles: Preambles[list[Preamble]] = Preambles()

    def _prepare(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
        common = {
            "q_norm": None if norms[0] is None else norms[0].weight,
            "k_norm": None if norms[1] is None else norms[1].weight,
        }
        if can_pack(self.device, self.dtype):
            return _Layer(
                qkv=PackedProjection(_folded([part.weight for part in parts], before), bias),
                out=PackedProjection(attention.o_proj.weight, attention.o_proj.bias),
                gate=PackedGate(
                    _folded([mlp.gate_proj.weight], between), _folded([mlp.up_proj.weight], between)
                ),
                down=PackedProjection(mlp.down_proj.weight, None),
                **common,
            )
        return _Layer(
            qkv=PlainProjection(_joined(parts), bias),
            out=PlainProjection(attention.o_proj.weight, attention.o_proj.bias),
            gate=PlainGate(_joined([mlp.gate_proj, mlp.up_proj]), self._gated),
            down=PlainProjection(mlp.down_proj.weight, None),
            before=before.float(),
            between=between.float(),
            **common,
        )

    @torch.inference_mode()
    def hidden(self, requests: Sequence[Request]) -> Tensor:
        """Return the final hidden states at the wanted positions of all requests, in order: [W, C], fp32.

        All requests have the same preamble.
        """
        preamble = (
            self._preambles.get(requests[0].preamble, self._read_preamble) if requests[0].n_preamble else None
        )
        longest = max(len(r.prefix) + max(map(len, r.suffixes)) for r in requests)
        if self._window is not None and longest > self._window:
            raise UnsupportedError(f"a prompt is longer than its sliding window of {self._window}")
        return self._read(self._lay_out(requests), preamble, None)

    def _lay_out(self, requests: Sequence[Request]) -> Layout:
        by_spans = takes_spans(self.device, self.dtype, self.head_width)
        return lay_out(requests, device=self.device, dtype=self.dtype, by_spans=by_spans)

    def _read_preamble(self, tokens: Tokens) -> list[Preamble]:
        kept: list[Preamble] = []
        self._read(self._lay_out([Request(tokens, ((),))]), None, kept)
        return kept

    def _read(self, layout: Layout, preambles: list[Preamble] | None, kept: list[Preamble] | None) -> Tensor:
        x_NC = self._embed(layout.ids).float()
        cos, sin = self._rotary(x_NC.to(self.dtype), layout.positions[None])
        # The rotation swaps a head's halves; its minus sign is moved into the table.
        half = self.head_width // 2
        turn = cos[0][:, None], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)[:, None]
        scale = self.head_width**-0.5
        for i, layer in enumerate(self._layers):
            q, k, v = self._qkv(layer, x_NC, *turn)
            if kept is not None:
                kept.append((k.contiguous(), v.contiguous()))
            preamble = preambles[i] if preambles else None
            if layer is self._layers[-1]:
                a_NHD = attend_wanted(q, k, v, layout, scale, preamble)
                x_NC = x_NC.index_select(0, layout.wanted)
            else:
                a_NHD = attend(q, k, v, layout, scale, preamble)
            x_NC += layer.out(a_NHD.flatten(1))
            x_NC += layer.down(layer.gate(self._normed(x_NC, layer.between, self.eps, self.dtype)))
        out_WC: Tensor = self._normed(x_NC, self._norm_C, self.eps, torch.float32)
        return out_WC

    def _qkv(
        self, layer: _Layer, x_NC: Tensor, cos_N1D: Tensor, sin_N1D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = layer.qkv(self._normed(x_NC, layer.before, self.eps, self.dtype)).unflatten(
            1, (-1, self.head_width)
        )
        qk, v = heads.split((self.n_heads + self.n_kv, self.n_kv), dim=1)
        if layer.q_norm is not None and layer.k_norm is not None:
            q, k = qk.split((self.n_heads, self.n_kv), dim=1)
            qk = torch.cat((self._head_norm(q, layer.q_norm), self._head_norm(k, layer.k_norm)), dim=1)
        q, k = self._rotate(qk, cos_N1D, sin_N1D).split((self.n_heads, self.n_kv), dim=1)
        return q, k, v

    def _head_norm(self, x: Tensor, weight_D: Tensor) -> Tensor:
        return normed(x.float(), weight_D.float(), self.eps, x.dtype)


def normed(x_NC: Tensor, weight_C: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
    """Return fp32 rows over their root mean square, times the norm's weight where it is not folded away."""
    if weight_C is not None:
        return F.rms_norm(x_NC, weight_C.shape, weight_C, eps).to(dtype)
    norm_N1 = torch.linalg.vector_norm(x_NC, dim=-1, keepdim=True)
    scale_N1 = norm_N1.square_().mul_(1.0 / x_NC.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x_NC, scale_N1, out=torch.empty(x_NC.shape, dtype=dtype, device=x_NC.device))


def rotate(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """Return heads turned by their position; `sin_N1D` carries the sign of the first half."""
    return torch.addcmul(x_NHD * cos_N1D, x_NHD.roll(x_NHD.shape[-1] // 2, -1), sin_N1D)


def _folded(weights: Sequence[Tensor], norm_C: Tensor) -> Tensor:
    """Return the weights as one, the norm's weight multiplied in: the product then does both."""
    return torch.cat([(weight.float() * norm_C.float()).to(weight.dtype) for weight in weights])


def _joined(layers: Sequence[Any]) -> Tensor:
    """Return the layers' weights as one; they themselves become views of it, so that nothing is held
    twice.
    """
    joined = torch.cat([layer.weight for layer in layers])
    for layer, part in zip(layers, torch.split(joined, [len(layer.weight) for layer in layers]), strict=True):
        layer.weight.data = part
    return joined


def _check(config: Any, body: Any) -> None:
    if config.model_type not in FAMILIES:
        raise UnsupportedError(f"it is of the family {config.model_type}")
    if config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        raise UnsupportedError("its feed-forward layers are unusual")
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedError("its weights are quantised")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        raise UnsupportedError(f"it has layers of kind {', '.join(sorted(kinds))}")
    for name, parameter in body.named_parameters():
        if parameter.dtype != body.dtype:
            raise UnsupportedError(f"{name} is {parameter.dtype}")
