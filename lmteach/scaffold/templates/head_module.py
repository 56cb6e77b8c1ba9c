"""The module of the `mine` head. Shape legend: B texts, Z the fused vector's width, C classes."""

from __future__ import annotations

from torch import Tensor, nn


class MineModule(nn.Module):
    """A line and a bend: [B, Z] -> [B, C]."""

    def __init__(self, in_dim: int, n_classes: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.line = nn.Linear(in_dim, n_classes)
        self.bend = nn.Sequential(
            nn.Linear(in_dim, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, n_classes)
        )

    def forward(self, fused_BZ: Tensor) -> Tensor:
        """Return logits [B, C], each row from its own vector alone."""
        logits_BC: Tensor = self.line(fused_BZ) + self.bend(fused_BZ)
        return logits_BC
