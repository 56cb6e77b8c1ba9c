"""The loss `sce` of classifiers: symmetric cross-entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lmteach.errors import RecipeError
from lmteach.students.class_losses import check_smoothing, cross_entropy, mean_loss

if TYPE_CHECKING:
    from torch import Tensor

    from lmteach.students.protocol import StudentKind

LOWEST_LOG = -4.0  # what Wang et al. set for log 0


class SymmetricCrossEntropyLoss:
    """Symmetric cross-entropy: alpha ce + beta rce, with rce = -sum_c p_c log t_c (Wang et al. 2019, section 3.2).

    log t_c is no lower than -4.
    """

    student_kind: ClassVar[StudentKind] = "classifier"

    @dataclass
    class Config:
        """Keys of `loss` with `name: sce`.

        Attributes:
            alpha: the share of cross-entropy.
            beta: the share of reverse cross-entropy.
            smoothing: share of the targets that is spread over all classes alike.
        """

        alpha: float = 0.1
        beta: float = 1.0
        smoothing: float = 0.0

    def __init__(self, config: Config, multilabel: bool) -> None:
        check_smoothing(config.smoothing)
        shares = (config.alpha, config.beta)
        if not all(0 <= share < math.inf for share in shares) or not any(shares):
            raise RecipeError(
                f"They are {config.alpha} and {config.beta}; they must be 0 or more, and not both 0.",
                where="loss.alpha, loss.beta",
            )
        self.alpha, self.beta = config.alpha, config.beta
        self._mean = partial(mean_loss, self._per_class, multilabel=multilabel, smoothing=config.smoothing)

    def __call__(self, logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        """Return the weighted sum over the texts, divided by their number."""
        return self._mean(logits_BC, targets_BC, weights_B)

    def _per_class(self, log_p: Tensor, targets: Tensor) -> Tensor:
        log_t = targets.clamp_min(1e-12).log().clamp_min(LOWEST_LOG)
        reverse = -(log_p.exp() * log_t).sum(dim=-1)
        return self.alpha * cross_entropy(log_p, targets) + self.beta * reverse
