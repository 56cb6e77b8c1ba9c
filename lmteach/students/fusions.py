"""How the vectors of several backbones and layers become one (LLMEmbed, section 3).

| name         | the fused vector                                            | width                      |
|--------------|-------------------------------------------------------------|----------------------------|
| concat       | all vectors, one after another                              | sum of their widths        |
| mean         | their mean                                                  | the common width           |
| max          | each dimension's greatest                                   | the common width           |
| cooccurrence | the power-normalised products of all pairs, and the base    | M^2 + the base's own width |
|              | backbone's mean layer as it is                              |                            |

A vector whose width differs from `width` is projected to it first, each by a layer of its own. A backbone that
is absent adds nothing. Shape legend: B texts, L layers of a backbone, D its width, M vectors in all, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lmteach.errors import RecipeError
from lmteach.recipe.schema import FusionSection

Shapes = Mapping[str, tuple[int, int]]
"""(L, D) of each backbone by name, in order."""


class Fusion(nn.Module):
    """Projects every vector to a common width where they differ; a subclass says how they are fused.

    Args:
        shapes: (L, D) of each backbone.
        width: W; None = no projection.
        dropout: after a projection and its ReLU.
    """

    out_dim: int

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = list(shapes)
        self.n_layers = [n_layers for n_layers, _ in shapes.values()]
        self.widths = [dim if width is None else width for n, dim in shapes.values() for _ in range(n)]
        dims = [dim for n, dim in shapes.values() for _ in range(n)]
        self.projections = nn.ModuleList(
            nn.Identity()
            if dim == out
            else nn.Sequential(nn.Linear(dim, out), nn.ReLU(), nn.Dropout(dropout))
            for dim, out in zip(dims, self.widths, strict=True)
        )

    def forward(self, vectors: Mapping[str, Tensor], present_Bk: Tensor) -> Tensor:
        """Fuse.

        Args:
            vectors: [B, L, D] of each backbone, all of them; what stands in an absent one is not looked at.
            present_Bk: boolean; which backbones each text has.
        """
        layers = [vectors[name][:, i] for name, n in self._layers() for i in range(n)]
        projected = [project(x_BD) for project, x_BD in zip(self.projections, layers, strict=True)]
        repeats = torch.tensor(self.n_layers, device=present_Bk.device)
        return self.fuse(projected, present_Bk.repeat_interleave(repeats, dim=1), vectors, present_Bk)

    def fuse(
        self,
        projected: Sequence[Tensor],
        present_BM: Tensor,
        vectors: Mapping[str, Tensor],
        present_Bk: Tensor,
    ) -> Tensor:
        """Return the fused vector of M projected ones, each [B, its width]."""
        raise NotImplementedError

    def _layers(self) -> list[tuple[str, int]]:
        return list(zip(self.names, self.n_layers, strict=True))

    def _common_width(self, name: str) -> int:
        if len(set(self.widths)) > 1:
            raise RecipeError(
                f"The fusion {name} needs vectors of one width; there are {sorted(set(self.widths))}.",
                where="student.fusion.width",
                mend="Set student.fusion.width, say to the smallest of them; others are projected to it.",
            )
        return self.widths[0]


class Concat(Fusion):
    """All vectors, one after another; zeros for an absent one."""

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__(shapes, width=width, dropout=dropout)
        self.out_dim = sum(self.widths)

    def fuse(
        self,
        projected: Sequence[Tensor],
        present_BM: Tensor,
        vectors: Mapping[str, Tensor],
        present_Bk: Tensor,
    ) -> Tensor:
        kept = [torch.where(present_BM[:, i, None], x_BW, 0.0) for i, x_BW in enumerate(projected)]
        return torch.cat(kept, dim=1)


class Mean(Fusion):
    """The mean of the vectors that are there."""

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__(shapes, width=width, dropout=dropout)
        self.out_dim = self._common_width("mean")

    def fuse(
        self,
        projected: Sequence[Tensor],
        present_BM: Tensor,
        vectors: Mapping[str, Tensor],
        present_Bk: Tensor,
    ) -> Tensor:
        x_BMW = torch.where(present_BM[:, :, None], torch.stack(list(projected), dim=1), 0.0)
        return x_BMW.sum(1) / present_BM.sum(1, keepdim=True).clamp_min(1)


class Max(Fusion):
    """Each dimension's greatest among the vectors that are there."""

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__(shapes, width=width, dropout=dropout)
        self.out_dim = self._common_width("max")

    def fuse(
        self,
        projected: Sequence[Tensor],
        present_BM: Tensor,
        vectors: Mapping[str, Tensor],
        present_Bk: Tensor,
    ) -> Tensor:
        x_BMW = torch.stack(list(projected), dim=1)
        lowest = torch.finfo(x_BMW.dtype).min
        return torch.where(present_BM[:, :, None], x_BMW, lowest).amax(1)


class Cooccurrence(Fusion):
    """X X^T of the M vectors under the power norm, and the base backbone's mean layer (LLMEmbed's own).

    Args:
        sigma: of the power norm.
        base: the backbone whose layers' mean, unprojected, is appended; empty = the first.
    """

    def __init__(
        self, shapes: Shapes, *, width: int | None, dropout: float = 0.0, sigma: float = 1.0, base: str = ""
    ) -> None:
        super().__init__(shapes, width=width, dropout=dropout)
        self._common_width("cooccurrence")
        self.sigma, self.base = sigma, base or self.names[0]
        self.out_dim = len(self.widths) ** 2 + shapes[self.base][1]

    def fuse(
        self,
        projected: Sequence[Tensor],
        present_BM: Tensor,
        vectors: Mapping[str, Tensor],
        present_Bk: Tensor,
    ) -> Tensor:
        x_BMW = torch.where(present_BM[:, :, None], torch.stack(list(projected), dim=1), 0.0)
        pairs_BMM = power_norm(x_BMW @ x_BMW.transpose(1, 2), self.sigma)
        base_B = present_Bk[:, self.names.index(self.base), None]
        base_BD = torch.where(base_B, vectors[self.base].mean(1), 0.0)
        return torch.cat([pairs_BMM.flatten(1), base_BD], dim=1)


def power_norm(x: Tensor, sigma: float) -> Tensor:
    """Return 2 sigmoid(sigma x) - 1, between -1 and 1.

    Example:
        >>> round(power_norm(torch.tensor(2.0), 0.5).item(), 4)
        0.4621
    """
    return 2 * torch.sigmoid(sigma * x) - 1


FUSIONS: dict[str, type[Fusion]] = {"concat": Concat, "mean": Mean, "max": Max, "cooccurrence": Cooccurrence}


def build_fusion(section: FusionSection, shapes: Shapes) -> Fusion:
    """Return the fusion that a recipe names.

    Raises:
        RecipeError: the widths do not fit it.
    """
    if section.name == "cooccurrence":
        return Cooccurrence(
            shapes, width=section.width, dropout=section.dropout, sigma=section.sigma, base=section.base
        )
    return FUSIONS[section.name](shapes, width=section.width, dropout=section.dropout)
