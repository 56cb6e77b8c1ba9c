"""Our own forward for BERT-shaped encoders on a CPU: BERT, RoBERTa and its kin, DistilBERT.

The same numbers as transformers' forward, in less time: packed weights, query, key and value as one, no padding
(texts of equal length attend together, so that no mask is needed either), and where only each text's first token
is wanted, nothing else is computed in the last layer. The residual is kept in fp32, so that bf16 ranks better.

Shape legend: N tokens of all texts in one row, B texts, T tokens of a text, C width, H heads, D head width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmteach.teaching.causal.generic import UnsupportedError
from lmteach.teaching.causal.linear import PackedProjection, Projection, can_pack

_SCORES = 1 << 19  # attention scores at a time, so that they stay in a core's cache


@dataclass(frozen=True)
class Parts:
    """One layer of a model, under names that all families share; those of its products are paths in the layer."""

    layers: str
    qkv: tuple[str, str, str]
    out: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


BERT = Parts(
    layers="encoder.layer",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    out="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
DISTILBERT = Parts(
    layers="transformer.layer",
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
FAMILIES = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
    "distilbert": DISTILBERT,
}


@dataclass(frozen=True)
class _Layer:
    qkv: Projection
    out: Projection
    attention_norm: nn.LayerNorm
    up: Projection  # with GELU
    down: Projection
    output_norm: nn.LayerNorm


class PackedBert:
    """Reads texts with weights as they are now; a model that is trained on needs a new one.

    Args:
        model: the encoder without a head, on a CPU.
        dtype: of the products and of attention, fp32 or bf16.

    Raises:
        UnsupportedError: another family or device, or one of these with something unusual.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        config = model.config
        parts = FAMILIES.get(config.model_type)
        if parts is None:
            raise UnsupportedError(f"it is of the family {config.model_type}")
        _check(model)
        if not can_pack(model.device, dtype):
            raise UnsupportedError(f"there are no packed products for {dtype} on {model.device}")
        self.dtype = dtype
        self.n_heads = int(config.num_attention_heads)
        self._embeddings = model.embeddings
        # RoBERTa counts positions from behind its padding token.
        self._first_position = 0 if config.model_type in ("bert", "distilbert") else config.pad_token_id + 1
        self._layers = [self._prepare(layer, parts) for layer in model.get_submodule(parts.layers)]

    def _prepare(self, layer: nn.Module, parts: Parts) -> _Layer:
        qkv = [_linear(layer, name) for name in parts.qkv]
        out, up, down = (_linear(layer, name) for name in (parts.out, parts.up, parts.down))

        def packed(weights: Sequence[nn.Linear], after: Literal["none", "gelu"] = "none") -> PackedProjection:
            weight = torch.cat([part.weight for part in weights]).to(self.dtype)
            return PackedProjection(weight, torch.cat([part.bias for part in weights]).to(self.dtype), after)

        return _Layer(
            qkv=packed(qkv),
            out=packed([out]),
            attention_norm=_norm(layer, parts.attention_norm),
            up=packed([up], "gelu"),
            down=packed([down]),
            output_norm=_norm(layer, parts.output_norm),
        )

    @torch.inference_mode()
    def layers(self, token_ids: Sequence[Sequence[int]], wanted: Sequence[int]) -> Mapping[int, Tensor]:
        """Return [N, C] of each wanted layer in fp32, numbered as transformers' `hidden_states`, text after text.

        Layers behind the last wanted one are not computed.
        """
        runs = list(_runs(token_ids))
        x_NC = self._embedded(token_ids)
        found = {0: x_NC} if 0 in wanted else {}
        for i, layer in enumerate(self._layers[: max(wanted)], start=1):
            x_NC = self._through(layer, x_NC, self._attended(layer, x_NC, runs))
            if i in wanted:
                found[i] = x_NC
        return found

    @torch.inference_mode()
    def first(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's states of each text's first token, [B, C], in fp32."""
        runs = list(_runs(token_ids))
        x_NC = self._embedded(token_ids)
        for layer in self._layers[:-1]:
            x_NC = self._through(layer, x_NC, self._attended(layer, x_NC, runs))
        lengths_B = torch.tensor([len(ids) for ids in token_ids])
        starts_B = lengths_B.cumsum(0) - lengths_B
        last = self._layers[-1]
        return self._through(last, x_NC[starts_B], self._attended(last, x_NC, runs, firsts=True))

    def _embedded(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        parts = self._embeddings
        flat_N = torch.tensor(list(itertools.chain.from_iterable(token_ids)))
        start = self._first_position
        places_N = torch.cat([torch.arange(start, start + len(ids)) for ids in token_ids])
        x_NC = F.embedding(flat_N, parts.word_embeddings.weight).float()
        x_NC += F.embedding(places_N, parts.position_embeddings.weight)
        types = getattr(parts, "token_type_embeddings", None)
        if types is not None:
            x_NC += types.weight[0]
        return _normed(x_NC, parts.LayerNorm)

    def _attended(
        self, layer: _Layer, x_NC: Tensor, runs: Sequence[tuple[int, int]], *, firsts: bool = False
    ) -> Tensor:
        """Return attention's output of all tokens, or of the first of each text."""
        qkv_NC = layer.qkv(x_NC.to(self.dtype))
        width = qkv_NC.shape[1] // 3
        rows = sum(n for n, _ in runs) if firsts else len(x_NC)
        out_NC = qkv_NC.new_empty(rows, width)
        read = written = 0
        for n, length in runs:
            heads = qkv_NC[read : read + n * length].view(n, length, 3, self.n_heads, -1)
            q, k, v = heads.permute(2, 0, 3, 1, 4)  # [n, H, T, D] each
            q = q[:, :, :1] if firsts else q
            kept = n * q.shape[2]
            out = out_NC[written : written + kept].view(n, -1, self.n_heads, width // self.n_heads)
            out.copy_(_attention(q, k, v).transpose(1, 2))
            read, written = read + n * length, written + kept
        return out_NC

    def _through(self, layer: _Layer, x_NC: Tensor, attended_NC: Tensor) -> Tensor:
        """Return a layer's output from its input and what its attention gave."""
        x_NC = _normed(layer.out(attended_NC) + x_NC, layer.attention_norm)
        return _normed(layer.down(layer.up(x_NC.to(self.dtype))) + x_NC, layer.output_norm)


def head_on_first(model: Any) -> Callable[[Tensor], Tensor]:
    """Return the part of a sequence classifier that makes logits of each text's first token, [B, C] to [B, classes].

    Raises:
        UnsupportedError: it is of a family that is not known here, or wrapped by adapters.
    """
    family = getattr(getattr(model, "config", None), "model_type", "")
    if hasattr(model, "merge_and_unload") or family not in FAMILIES:
        raise UnsupportedError("its head is not known")

    @torch.inference_mode()
    def logits(first_BC: Tensor) -> Tensor:
        if family == "bert":
            out: Tensor = model.classifier(model.base_model.pooler(first_BC[:, None]))
        elif family == "distilbert":
            out = model.classifier(F.relu(model.pre_classifier(first_BC)))
        else:
            out = model.classifier(first_BC[:, None])
        return out.float()

    return logits


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend without a mask. torch's fused kernel takes twice the time of plain products in bf16, and half in fp32."""
    if q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v)
    n, n_heads, rows, width = q.shape
    length = k.shape[2]
    step = max(1, _SCORES // (n_heads * rows * length))
    parts = []
    for at in range(0, n, step):
        q3, k3, v3 = (x[at : at + step].flatten(0, 1) for x in (q, k, v))
        nothing = q3.new_empty(1, 1, 1)
        scores = torch.baddbmm(nothing, q3, k3.transpose(1, 2), beta=0, alpha=width**-0.5)
        parts.append(torch.bmm(scores.softmax(-1), v3))
    return torch.cat(parts).view(n, n_heads, rows, width)


def _normed(x_NC: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x_NC, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


def _runs(token_ids: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Yield (how many texts, of which length) of neighbours of equal length."""
    for length, texts in itertools.groupby(len(ids) for ids in token_ids):
        yield sum(1 for _ in texts), length


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    part = layer.get_submodule(name)
    if type(part) is not nn.Linear or part.bias is None:
        raise UnsupportedError(f"its {name} is a {type(part).__name__}")
    return part


def _norm(layer: nn.Module, name: str) -> nn.LayerNorm:
    part = layer.get_submodule(name)
    assert isinstance(part, nn.LayerNorm)
    return part


def _check(model: Any) -> None:
    config = model.config
    if getattr(config, "hidden_act", None) != "gelu" and getattr(config, "activation", None) != "gelu":
        raise UnsupportedError("its feed-forward layers are unusual")
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise UnsupportedError("it is a decoder")
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedError("its weights are quantised")
    for name, parameter in model.named_parameters():
        if type(parameter.data) is not Tensor:
            raise UnsupportedError(f"{name} is spread over processes")
