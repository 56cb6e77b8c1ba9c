"""The `mine` head: a linear layer, and a narrow hidden one added to it, so that it bends where that helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from torch.nn import Module


class MineHead:
    """From a classifier's fused vector [B, in_dim] to a score for each class [B, n_classes]."""

    @dataclass
    class Config:
        """Keys of `student.head:` with `name: mine`.

        Attributes:
            width: of the hidden layer.
            dropout: after it, in training.
        """

        width: int = 64
        dropout: float = 0.1

    def __init__(self, config: Config) -> None:
        if config.width < 1:
            raise RecipeError(f"It is {config.width}; it must be 1 or more.", where="student.head.width")
        if not 0 <= config.dropout < 1:
            raise RecipeError(
                f"It is {config.dropout}; it lies from 0 to below 1.", where="student.head.dropout"
            )
        self.config = config

    def module(self, in_dim: int, n_classes: int) -> Module:
        """Return the module; torch is imported here, so that reading a recipe is quick."""
        from lmteach.scaffold.templates.head_module import MineModule  # isort: skip

        return MineModule(in_dim, n_classes, width=self.config.width, dropout=self.config.dropout)
