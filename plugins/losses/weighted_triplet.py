"""The loss `weighted_triplet` of taggers: LMTX's own, in which harder negatives weigh more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.losses import check_margin, violations

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind


class WeightedTripletLoss:
    """In-batch triplet loss over each document's hardest true negatives, weighted by their cosines (LMTX, section 3).

    With S, N_i and l_ij as of `triplet`, it is the mean over i of 1/|N_i| sum_{j in N_i} w_ij l_ij, where w_i is
    the softmax over N_i of m_ij S_ij / temperature, and m_ij = 1 for a violator (l_ij > 0) and 0 else: a
    non-violator enters the softmax as 0, as in the authors' code. The weights are part of the graph.
    """

    student_kind: ClassVar[StudentKind] = "tagger"

    @dataclass
    class Config:
        """Keys of `loss` with `name: weighted_triplet`.

        Attributes:
            margin: by which a document's own label should be nearer than a negative, in cosine.
            temperature: of the weights; the lower, the more the hardest negative counts.
            n_negatives: how many of a document's negatives count, the hardest first.
        """

        margin: float = 0.3
        temperature: float = 0.1
        n_negatives: int = 10

    def __init__(self, config: Config) -> None:
        check_margin(config.margin, config.n_negatives)
        if not 0 < config.temperature < math.inf:
            raise RecipeError(f"It is {config.temperature}; it must be above 0.", where="loss.temperature")
        self.config = config

    def __call__(self, scores_BG: Tensor, positive_BG: Tensor, first: int = 0) -> Tensor:
        """Return the loss; a document with fewer negatives uses those it has, one with none adds 0."""
        import torch

        found = violations(scores_BG, positive_BG, self.config.margin, self.config.n_negatives, first)
        logits_Bk = (found.scores_Bk / self.config.temperature).where(found.by_Bk > 0, 0.0)
        weights_Bk = logits_Bk.masked_fill(~found.valid_Bk, torch.finfo(logits_Bk.dtype).min).softmax(1)
        return ((weights_Bk * found.by_Bk).sum(1) / found.n_valid_B).mean()
