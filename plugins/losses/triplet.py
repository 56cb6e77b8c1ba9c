"""The loss `triplet` of taggers: a margin between a document's own label and its hardest negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmteach.students.losses import check_margin, violations

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind


class TripletLoss:
    """In-batch triplet loss over each document's hardest true negatives, all alike (LMTX, section 3).

    With S the cosines, N_i the `n_negatives` largest S_ij among document i's true negatives and
    l_ij = max(0, S_ij - S_ii + margin), it is the mean over i of the mean over j in N_i of l_ij.
    """

    student_kind: ClassVar[StudentKind] = "tagger"

    @dataclass
    class Config:
        """Keys of `loss` with `name: triplet`.

        Attributes:
            margin: by which a document's own label should be nearer than a negative, in cosine.
            n_negatives: how many of a document's negatives count, the hardest first.
        """

        margin: float = 0.3
        n_negatives: int = 10

    def __init__(self, config: Config) -> None:
        check_margin(config.margin, config.n_negatives)
        self.config = config

    def __call__(self, scores_BG: Tensor, positive_BG: Tensor, first: int = 0) -> Tensor:
        """Return the loss; a document with fewer negatives uses those it has, one with none adds 0."""
        found = violations(scores_BG, positive_BG, self.config.margin, self.config.n_negatives, first)
        return (found.by_Bk.sum(1) / found.n_valid_B).mean()
