"""The `mine` loss of taggers: a document picks its own label out of the batch, by a softmax over cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind


class MineLoss:
    """Cross-entropy of each document's own label against its negatives (InfoNCE, van den Oord et al. 2018).

    A loss of classifiers has `student_kind = "classifier"`, is built with a second argument `multilabel`, and is
    called with logits, targets and weights: see `ClassLoss` in `lmteach.students.protocol`.
    """

    student_kind: ClassVar[StudentKind] = "tagger"

    @dataclass
    class Config:
        """Keys of `loss:` with `name: mine`.

        Attributes:
            temperature: of the softmax; the lower, the more the nearest negatives count.
        """

        temperature: float = 0.05

    def __init__(self, config: Config) -> None:
        if not 0 < config.temperature < math.inf:
            raise RecipeError(f"It is {config.temperature}; it must be above 0.", where="loss.temperature")
        self.config = config

    def __call__(self, scores_BG: Tensor, positive_BG: Tensor, first: int = 0) -> Tensor:
        """Return the mean over the documents; another label of a document's yes set is no negative of it.

        Args:
            scores_BG: the cosine of document i and the label drawn for document j; those of other ranks too.
            positive_BG: where label j is in document i's yes set.
            first: the column of document 0's own label; document i's is `first + i`.
        """
        own_B = scores_BG.diagonal(offset=first) / self.config.temperature
        others_BG = (scores_BG / self.config.temperature).masked_fill(positive_BG, -math.inf)
        return (others_BG.logsumexp(dim=1).logaddexp(own_B) - own_B).mean()
