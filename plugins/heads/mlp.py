"""The head `mlp`: hidden layers with ReLU and dropout, then a linear one (LLMEmbed's own)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn


class MlpHead:
    """Linear layers with ReLU and dropout between them (LLMEmbed: Z, 1024, 256, C; dropout .5)."""

    @dataclass
    class Config:
        """Keys of `student.head` with `name: mlp`.

        Attributes:
            hidden: widths of the hidden layers.
            dropout: after each hidden layer.
        """

        hidden: list[int] = field(default_factory=lambda: [1024, 256])
        dropout: float = 0.5

    def __init__(self, config: Config) -> None:
        if any(width < 1 for width in config.hidden):
            raise RecipeError(
                f"It is {config.hidden}; it must hold widths of 1 or more.", where="student.head.hidden"
            )
        if not 0 <= config.dropout < 1:
            raise RecipeError(
                f"It is {config.dropout}; it must be 0 or more, below 1.", where="student.head.dropout"
            )
        self.config = config

    def module(self, in_dim: int, n_classes: int) -> nn.Module:
        """Return the layers, in order."""
        from torch import nn

        layers: list[nn.Module] = []
        for width in self.config.hidden:
            layers += [nn.Linear(in_dim, width), nn.ReLU(), nn.Dropout(self.config.dropout)]
            in_dim = width
        return nn.Sequential(*layers, nn.Linear(in_dim, n_classes))
