"""What turns a fused vector into a score for each class. Shape legend: B texts, Z its width, C classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lmteach.recipe.schema import HeadSection


def linear(in_dim: int, n_classes: int) -> nn.Module:
    """Return one linear layer: [B, Z] -> [B, C]."""
    return nn.Linear(in_dim, n_classes)


def mlp(in_dim: int, n_classes: int, *, hidden: Sequence[int], dropout: float) -> nn.Module:
    """Return linear layers with ReLU and dropout between them (LLMEmbed: Z, 1024, 256, C; dropout .5)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_dim, width), nn.ReLU(), nn.Dropout(dropout)]
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, n_classes))


def build_head(section: HeadSection, in_dim: int, n_classes: int) -> nn.Module:
    """Return the head that a recipe names."""
    if section.name == "linear":
        return linear(in_dim, n_classes)
    return mlp(in_dim, n_classes, hidden=section.hidden, dropout=section.dropout)
