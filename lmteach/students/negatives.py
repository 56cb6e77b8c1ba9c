"""Which in-batch labels are negatives of a document. Shape legend: B documents, P yes-labels at most, k negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def positive_mask(yes_ids_BP: Tensor, label_ids_B: Tensor) -> Tensor:
    """Return Y_BB: True where label j is in document i's yes set, so that it is no negative of i.

    Args:
        yes_ids_BP: each document's yes set, padded with -1.
        label_ids_B: the label drawn for each document.
    """
    member_BB: Tensor = (yes_ids_BP.unsqueeze(2) == label_ids_B.view(1, 1, -1)).any(1)
    return member_BB | torch.eye(len(label_ids_B), dtype=torch.bool, device=label_ids_B.device)


def hardest_negatives(scores_BB: Tensor, positive_BB: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k highest scores among each row's negatives, and which of them are real.

    A row with fewer than k negatives is filled up with zeros that `valid_Bk` marks as False: a positive is
    never used as a negative.

    Returns:
        (values_Bk, valid_Bk), with k cut to B.
    """
    floor = torch.finfo(scores_BB.dtype).min
    masked_BB = scores_BB.masked_fill(positive_BB, floor)
    values_Bk, places_Bk = masked_BB.topk(min(k, scores_BB.shape[1]), dim=1)
    valid_Bk = ~positive_BB.gather(1, places_Bk)
    return torch.where(valid_Bk, values_Bk, torch.zeros_like(values_Bk)), valid_Bk
