"""What tagger losses share: the hardest negatives' violations of a margin.

Shape legend: B documents, G labels drawn for them and for other ranks' documents (G = B in one process),
k negatives a row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor


class Violations(NamedTuple):
    """Each document's hardest negatives: their scores, by how much they violate the margin, which of them are real.

    `n_valid_B` counts the real ones, as 1 where there is none.
    """

    scores_Bk: Tensor
    by_Bk: Tensor
    valid_Bk: Tensor
    n_valid_B: Tensor


def violations(
    scores_BG: Tensor, positive_BG: Tensor, margin: float, n_negatives: int, first: int = 0
) -> Violations:
    """Return max(0, S_ij - S_ii + margin) of each document's `n_negatives` hardest negatives, 0 where it has fewer.

    Args:
        scores_BG, positive_BG, first: as of `lmteach.students.protocol.TaggerLoss`.
    """
    from lmteach.students.negatives import hardest_negatives

    scores_Bk, valid_Bk = hardest_negatives(scores_BG, positive_BG, n_negatives)
    own_B = scores_BG.diagonal(offset=first)
    by_Bk = (scores_Bk - own_B.unsqueeze(1) + margin).clamp_min(0) * valid_Bk
    return Violations(scores_Bk, by_Bk, valid_Bk, valid_Bk.sum(1).clamp_min(1))


def check_margin(margin: float, n_negatives: int) -> None:
    """Check the keys that the losses with a margin share.

    Raises:
        RecipeError: a value out of range.
    """
    if not math.isfinite(margin):
        raise RecipeError(f"It is {margin}; it must be a finite number.", where="loss.margin")
    if n_negatives < 1:
        raise RecipeError(f"It is {n_negatives}; it must be 1 or more.", where="loss.n_negatives")
