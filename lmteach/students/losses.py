"""Losses of the bi-encoder. Shape legend: B documents, G labels drawn for them and for other ranks' documents
(G = B in one process), k negatives a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lmteach.students.negatives import hardest_negatives

if TYPE_CHECKING:
    from torch import Tensor


def triplet_loss(
    scores_BG: Tensor,
    positive_BG: Tensor,
    *,
    margin: float = 0.3,
    n_negatives: int = 10,
    temperature: float | None = None,
    first: int = 0,
) -> Tensor:
    """In-batch triplet loss over each document's hardest true negatives (LMTX, section 3).

    With S the cosine matrix, N_i the `n_negatives` largest S_ij among true negatives and
    l_ij = max(0, S_ij - S_ii + margin):

        plain     sum_i 1/B * mean_{j in N_i} l_ij
        weighted  sum_i 1/B * 1/|N_i| sum_{j in N_i} w_ij l_ij,  w_i = softmax over N_i of m_ij S_ij / temperature

    where m_ij = 1 for a violator (l_ij > 0) and 0 else: a non-violator enters the softmax as 0, as in the
    authors' code. A document with fewer true negatives uses those it has; one with none adds 0. The weights
    are part of the graph.

    Args:
        scores_BG: S, document i against the label drawn for document j.
        positive_BG: boolean; where label j is in document i's yes set (its own label always is).
        temperature: tau of the weights; None = the plain form.
        first: the column of document 0's own label; document i's is `first + i`.

    Returns:
        The scalar loss.

    Example:
        >>> S = torch.tensor([[0.8, 0.6, 0.1], [0.2, 0.7, 0.65], [0.5, 0.5, 0.6]])
        >>> round(triplet_loss(S, torch.eye(3, dtype=torch.bool), n_negatives=1).item(), 4)
        0.1833
    """
    values_Bk, valid_Bk = hardest_negatives(scores_BG, positive_BG, n_negatives)
    own_B = scores_BG.diagonal(offset=first)
    violation_Bk = (values_Bk - own_B.unsqueeze(1) + margin).clamp_min(0) * valid_Bk
    n_valid_B = valid_Bk.sum(1).clamp_min(1)
    if temperature is None:
        return (violation_Bk.sum(1) / n_valid_B).mean()
    logits_Bk = torch.where(violation_Bk > 0, values_Bk / temperature, torch.zeros_like(values_Bk))
    weights_Bk = logits_Bk.masked_fill(~valid_Bk, torch.finfo(logits_Bk.dtype).min).softmax(1)
    return ((weights_Bk * violation_Bk).sum(1) / n_valid_B).mean()
