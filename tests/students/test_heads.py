"""Heads: shapes, and where dropout stands."""

from __future__ import annotations

import torch
from torch import nn

from lmteach.recipe.schema import HeadSection
from lmteach.students.heads import build_head


def test_a_linear_head_is_one_layer() -> None:
    head = build_head(HeadSection(name="linear"), 7, 3)
    assert [p.shape for p in head.parameters()] == [(3, 7), (3,)]


def test_an_mlp_has_relu_and_dropout_after_each_hidden_layer_and_none_at_its_end() -> None:
    head = build_head(HeadSection(name="mlp", hidden=[5, 4], dropout=0.25), 7, 3)
    kinds = [type(layer) for layer in head]  # type: ignore[arg-type]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    assert {layer.p for layer in head if isinstance(layer, nn.Dropout)} == {0.25}  # type: ignore[union-attr]
    assert head(torch.zeros(2, 7)).shape == (2, 3)
