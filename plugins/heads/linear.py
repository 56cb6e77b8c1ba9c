"""The head `linear`: one linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class LinearHead:
    """One linear layer: [B, Z] -> [B, C]."""

    @dataclass
    class Config:
        """It has no keys."""

    def __init__(self, config: Config) -> None:
        pass

    def module(self, in_dim: int, n_classes: int) -> nn.Module:
        """Return the layer."""
        from torch import nn

        return nn.Linear(in_dim, n_classes)
