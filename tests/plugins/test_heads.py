"""Heads: shapes, and where dropout stands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lmteach import registry
from lmteach.errors import RecipeError


def test_a_linear_head_is_one_layer() -> None:
    head = registry.build("head", {"name": "linear"}).module(7, 3)
    assert [p.shape for p in head.parameters()] == [(3, 7), (3,)]


def test_an_mlp_has_relu_and_dropout_after_each_hidden_layer_and_none_at_its_end() -> None:
    head = registry.build("head", {"name": "mlp", "hidden": [5, 4], "dropout": 0.25}).module(7, 3)
    kinds = [type(layer) for layer in head]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    assert {layer.p for layer in head if isinstance(layer, nn.Dropout)} == {0.25}
    assert head(torch.zeros(2, 7)).shape == (2, 3)


@pytest.mark.parametrize(
    "keys", [{"hidden": [8, 0]}, {"dropout": -0.1}, {"dropout": 1.0}, {"dropout": float("nan")}]
)
def test_values_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"student.head.{next(iter(keys))}: It is"):
        registry.build("head", {"name": "mlp", **keys})
