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
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lmteach.errors import RecipeError
from lmteach.recipe.schema import FusionSection

Shapes = Mapping[str, tuple[int, int]]
"""(L, D) of each backbone by name, in order."""


class Given(NamedTuple):
    """What is fused: the M projected vectors [B, W], the backbones' own [B, L, D], and which of both are there."""

    projected: Sequence[Tensor]
    present_BM: Tensor
    vectors: Mapping[str, Tensor]
    present_Bk: Tensor

    def stacked(self, absent: float) -> Tensor:
        """Return [B, M, W] of vectors of one width, with `absent` in place of those that are not there."""
        return torch.where(self.present_BM[:, :, None], torch.stack(list(self.projected), dim=1), absent)


class Fusion(nn.Module):
    """Projects every vector to a common width where they differ; a subclass says how they are fused.

    Args:
        shapes: (L, D) of each backbone.
        width: W; None = no projection.
        dropout: after a projection and its ReLU.

    Raises:
        RecipeError: the widths differ, and the fusion needs them alike.
    """

    needs_one_width = True

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = list(shapes)
        self.n_layers = [n_layers for n_layers, _ in shapes.values()]
        self.widths = [dim if width is None else width for n, dim in shapes.values() for _ in range(n)]
        if self.needs_one_width and len(set(self.widths)) > 1:
            raise RecipeError(
                f"The fusion {type(self).__name__.lower()} needs vectors of one width; "
                f"there are {sorted(set(self.widths))}.",
                where="student.fusion.width",
                mend="Set student.fusion.width, say to the smallest of them; others are projected to it.",
            )
        self.out_dim = self.widths[0]
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
        named = zip(self.names, self.n_layers, strict=True)
        layers = [vectors[name][:, i] for name, n in named for i in range(n)]
        projected = [project(x_BD) for project, x_BD in zip(self.projections, layers, strict=True)]
        repeats = torch.tensor(self.n_layers, device=present_Bk.device)
        return self.fuse(Given(projected, present_Bk.repeat_interleave(repeats, dim=1), vectors, present_Bk))

    def fuse(self, given: Given) -> Tensor:
        """Return the fused vector [B, out_dim]."""
        raise NotImplementedError


class Concat(Fusion):
    """All vectors, one after another; zeros for an absent one."""

    needs_one_width = False

    def __init__(self, shapes: Shapes, *, width: int | None, dropout: float = 0.0) -> None:
        super().__init__(shapes, width=width, dropout=dropout)
        self.out_dim = sum(self.widths)

    def fuse(self, given: Given) -> Tensor:
        present_MB = given.present_BM.unbind(1)
        kept = [
            torch.where(here_B[:, None], x_BW, 0.0)
            for here_B, x_BW in zip(present_MB, given.projected, strict=True)
        ]
        return torch.cat(kept, dim=1)


class Mean(Fusion):
    """The mean of the vectors that are there."""

    def fuse(self, given: Given) -> Tensor:
        return given.stacked(0.0).sum(1) / given.present_BM.sum(1, keepdim=True).clamp_min(1)


class Max(Fusion):
    """Each dimension's greatest among the vectors that are there."""

    def fuse(self, given: Given) -> Tensor:
        return given.stacked(torch.finfo(given.projected[0].dtype).min).amax(1)


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
        self.sigma, self.base = sigma, base or self.names[0]
        self.out_dim = len(self.widths) ** 2 + shapes[self.base][1]

    def fuse(self, given: Given) -> Tensor:
        x_BMW = given.stacked(0.0)
        pairs_BMM = power_norm(x_BMW @ x_BMW.transpose(1, 2), self.sigma)
        base_B = given.present_Bk[:, self.names.index(self.base), None]
        base_BD = torch.where(base_B, given.vectors[self.base].mean(1), 0.0)
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
    own = {"sigma": section.sigma, "base": section.base} if section.name == "cooccurrence" else {}
    return FUSIONS[section.name](shapes, width=section.width, dropout=section.dropout, **own)
