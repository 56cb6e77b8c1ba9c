"""Which in-batch labels are negatives of a document, those of other ranks included.

Shape legend: B documents, G labels drawn for them and for other ranks' documents (G = B in one process),
P yes-labels at most, D dimensions, k negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class GatheredLabels:
    """The labels drawn on all ranks. `first` is the row of this rank's first; gradients flow to every rank's."""

    vectors_GD: Tensor
    ids_G: Tensor
    first: int


def gather_labels(vectors_BD: Tensor, ids_B: Tensor) -> GatheredLabels:
    """Return the labels drawn on all ranks, in their order; in one process those given.

    Ranks may hold different numbers of them. The gradient of a rank's vectors is the sum over all ranks' losses.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return GatheredLabels(vectors_BD, ids_B, 0)
    sizes = _gather_sizes(len(ids_B), ids_B.device)
    most, rank = max(sizes), dist.get_rank()
    padded_ids = ids_B.new_full((most,), -1)
    padded_ids[: len(ids_B)] = ids_B
    all_ids = [torch.empty_like(padded_ids) for _ in sizes]
    dist.all_gather(all_ids, padded_ids)
    padded = torch.nn.functional.pad(vectors_BD, (0, 0, 0, most - len(ids_B)))
    all_vectors: Tensor = _Gather.apply(padded)  # type: ignore[no-untyped-call]
    return GatheredLabels(
        torch.cat([vectors[:n] for vectors, n in zip(all_vectors, sizes, strict=True)]),
        torch.cat([ids[:n] for ids, n in zip(all_ids, sizes, strict=True)]),
        sum(sizes[:rank]),
    )


class _Gather(torch.autograd.Function):
    """[B, D] of each of W ranks to [W, B, D] on all; backward, each rank gets the sum of what all made of its part."""

    @staticmethod
    def forward(ctx: Any, mine_BD: Tensor) -> Tensor:
        all_WBD = [torch.empty_like(mine_BD) for _ in range(dist.get_world_size())]
        dist.all_gather(all_WBD, mine_BD.contiguous())
        return torch.stack(all_WBD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient_WBD = gradients[0].contiguous()
        dist.all_reduce(gradient_WBD)
        return gradient_WBD[dist.get_rank()]


def _gather_sizes(n: int, device: torch.device) -> list[int]:
    sizes = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([n], device=device))
    return [int(size) for size in sizes]


def positive_mask(yes_ids_BP: Tensor, label_ids_G: Tensor, first: int = 0) -> Tensor:
    """Return Y_BG: True where label j is in document i's yes set, so that it is no negative of i.

    Args:
        yes_ids_BP: each document's yes set, padded with -1.
        label_ids_G: the label drawn for each document; document i's own is at `first + i`.
    """
    member_BG: Tensor = (yes_ids_BP.unsqueeze(2) == label_ids_G.view(1, 1, -1)).any(1)
    own_B = first + torch.arange(len(yes_ids_BP), device=label_ids_G.device)
    return member_BG.scatter(1, own_B.unsqueeze(1), True)


def hardest_negatives(scores_BG: Tensor, positive_BG: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k highest scores among each row's negatives, and which of them are real.

    A row with fewer than k negatives is filled up with zeros that `valid_Bk` marks as False: a positive is
    never used as a negative.

    Returns:
        (values_Bk, valid_Bk), with k cut to G.
    """
    floor = torch.finfo(scores_BG.dtype).min
    masked_BG = scores_BG.masked_fill(positive_BG, floor)
    values_Bk, places_Bk = masked_BG.topk(min(k, scores_BG.shape[1]), dim=1)
    valid_Bk = ~positive_BG.gather(1, places_Bk)
    return torch.where(valid_Bk, values_Bk, torch.zeros_like(values_Bk)), valid_Bk
