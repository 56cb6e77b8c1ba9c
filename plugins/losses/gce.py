"""The loss `gce` of classifiers: generalised cross-entropy, between cross-entropy and the absolute error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.class_losses import check_smoothing, mean_loss

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind


class GeneralisedCrossEntropyLoss:
    """Generalised cross-entropy: sum_c t_c (1 - p_c^q) / q (Zhang and Sabuncu 2018, equation 6).

    With q towards 0 it is cross-entropy, with q = 1 the mean absolute error, which no symmetric noise can turn.
    """

    student_kind: ClassVar[StudentKind] = "classifier"

    @dataclass
    class Config:
        """Keys of `loss` with `name: gce`.

        Attributes:
            q: above 0, up to 1; the greater, the less a label counts that the student finds unlikely.
            smoothing: share of the targets that is spread over all classes alike.
        """

        q: float = 0.7
        smoothing: float = 0.0

    def __init__(self, config: Config, multilabel: bool) -> None:
        check_smoothing(config.smoothing)
        if not 0 < config.q <= 1:
            raise RecipeError(f"It is {config.q}; it must be above 0, at most 1.", where="loss.q")
        self.q = config.q
        self._mean = partial(mean_loss, self._per_class, multilabel=multilabel, smoothing=config.smoothing)

    def __call__(self, logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        """Return the weighted sum over the texts, divided by their number."""
        return self._mean(logits_BC, targets_BC, weights_B)

    def _per_class(self, log_p: Tensor, targets: Tensor) -> Tensor:
        return (targets * -(self.q * log_p).expm1()).sum(dim=-1) / self.q
