"""The loss `ce` of classifiers: cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.class_losses import check_smoothing, cross_entropy, mean_loss

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind


class CrossEntropyLoss:
    """Cross-entropy: -sum_c t_c log p_c; of several labels the mean over the classes, each yes or no."""

    student_kind: ClassVar[StudentKind] = "classifier"

    @dataclass
    class Config:
        """Keys of `loss` with `name: ce`.

        Attributes:
            smoothing: share of the targets that is spread over all classes alike.
            double_softmax: take the probabilities for logits, as the LLMEmbed authors' code does.
        """

        smoothing: float = 0.0
        double_softmax: bool = False

    def __init__(self, config: Config, multilabel: bool) -> None:
        check_smoothing(config.smoothing)
        if config.double_softmax and multilabel:
            raise RecipeError(
                "It has no meaning where student.multilabel: there is no softmax.",
                where="loss.double_softmax",
            )
        self.config, self.multilabel = config, multilabel

    def __call__(self, logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        """Return the weighted sum over the texts, divided by their number."""
        if self.config.double_softmax:
            logits_BC = logits_BC.softmax(1)
        return mean_loss(
            cross_entropy,
            logits_BC,
            targets_BC,
            weights_B,
            multilabel=self.multilabel,
            smoothing=self.config.smoothing,
        )
