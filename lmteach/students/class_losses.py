"""What losses of classifiers share: one class or several, soft targets, weights, smoothing.

Shape legend: B texts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor


def mean_loss(
    per_class: Callable[[Tensor, Tensor], Tensor],
    logits_BC: Tensor,
    targets_BC: Tensor,
    weights_B: Tensor,
    *,
    multilabel: bool,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the weighted sum of the texts' losses, divided by their number.

    Args:
        per_class: the loss of log-probabilities against targets, both distributions over the last dimension,
            which it sums up.
        multilabel: each class is a question of its own with the answers yes and no (sigmoid), and a text's loss
            the mean over the classes; else the classes compete (softmax).
        smoothing: share of the targets that is spread over all answers alike.
    """
    import torch
    import torch.nn.functional as F

    logits_BC, targets_BC = logits_BC.float(), targets_BC.float()
    if multilabel:
        log_p = torch.stack([F.logsigmoid(logits_BC), F.logsigmoid(-logits_BC)], dim=-1)
        targets = torch.stack([targets_BC, 1 - targets_BC], dim=-1)
        losses_B = per_class(log_p, _smooth(targets, smoothing)).mean(dim=-1)
    else:
        losses_B = per_class(logits_BC.log_softmax(dim=-1), _smooth(targets_BC, smoothing))
    return (losses_B * weights_B).sum() / len(losses_B)


def cross_entropy(log_p: Tensor, targets: Tensor) -> Tensor:
    """Return -sum_c t_c log p_c over the last dimension."""
    return -(targets * log_p).sum(dim=-1)


def check_smoothing(smoothing: float) -> None:
    """Check the key `loss.smoothing`.

    Raises:
        RecipeError: it is no share.
    """
    if not 0 <= smoothing < 1:
        raise RecipeError(f"It is {smoothing}; it must be 0 or more, below 1.", where="loss.smoothing")


def _smooth(targets: Tensor, smoothing: float) -> Tensor:
    return targets if not smoothing else (1 - smoothing) * targets + smoothing / targets.shape[-1]
