"""Losses of a classifier: cross-entropy and its noise-tolerant kin, with soft targets and a weight an example.

Shape legend: B examples, C classes.

| name | one label (softmax)                                   | several labels (sigmoid, each class for itself) |
|------|-------------------------------------------------------|-------------------------------------------------|
| ce   | -sum_c t_c log p_c                                    | the same over {yes, no}, mean over the classes  |
| gce  | sum_c t_c (1 - p_c^q) / q (Zhang and Sabuncu 2018)    | likewise                                        |
| sce  | alpha ce + beta rce, rce = -sum_c p_c log t_c, with   | likewise                                        |
|      | log t_c no lower than -4 (Wang et al. 2019)           |                                                 |

With q towards 0 `gce` is `ce`, with q = 1 it is the mean absolute error, which no symmetric noise can turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lmteach.errors import RecipeError, nearest_name

ClassLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits_BC, targets_BC, weights_B) -> scalar: the weighted sum over the examples divided by B."""

LOWEST_LOG = -4.0  # what Wang et al. set for log 0
LOSSES = ("ce", "gce", "sce")


class LossKeys(Protocol):
    """What `build_loss` reads: a recipe's `noise` section, or anything alike."""

    @property
    def loss(self) -> str: ...

    q: float
    alpha: float
    beta: float
    smoothing: float


def build_loss(keys: LossKeys, *, multilabel: bool) -> ClassLoss:
    """Return the loss that a recipe's `noise` section asks for.

    Args:
        keys: `loss` (ce, gce or sce), `q` of gce, `alpha` and `beta` of sce, `smoothing` of the targets.
        multilabel: classes are judged each for itself (sigmoid) instead of against each other (softmax).

    Raises:
        RecipeError: no such loss, or a value out of range.
    """
    if keys.loss not in LOSSES:
        raise RecipeError(
            f"There is no loss '{keys.loss}'.", where="noise.loss", nearest=nearest_name(keys.loss, LOSSES)
        )
    if not 0 < keys.q <= 1:
        raise RecipeError(f"q is {keys.q}; it lies above 0, up to 1.", where="noise.q")
    if not 0 <= keys.smoothing < 1:
        raise RecipeError(f"It is {keys.smoothing}; it lies from 0 to below 1.", where="noise.smoothing")
    if min(keys.alpha, keys.beta) < 0 or not keys.alpha + keys.beta:
        raise RecipeError("alpha and beta are 0 or more, and not both 0.", where="noise.alpha, noise.beta")
    per_class = _per_class(keys)

    def loss(logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        logits_BC, targets_BC = logits_BC.float(), targets_BC.float()
        if multilabel:  # each class is a question of its own with two answers
            log_p = torch.stack([F.logsigmoid(logits_BC), F.logsigmoid(-logits_BC)], dim=-1)
            targets = torch.stack([targets_BC, 1 - targets_BC], dim=-1)
            losses_B = per_class(log_p, _smooth(targets, keys.smoothing)).mean(dim=-1)
        else:
            losses_B = per_class(logits_BC.log_softmax(dim=-1), _smooth(targets_BC, keys.smoothing))
        return (losses_B * weights_B).sum() / len(losses_B)

    return loss


def _per_class(keys: LossKeys) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of log-probabilities against targets, both distributions over the last dimension."""
    if keys.loss == "ce":
        return cross_entropy
    if keys.loss == "gce":
        return lambda log_p, t: generalised_cross_entropy(log_p, t, keys.q)
    return lambda log_p, t: keys.alpha * cross_entropy(log_p, t) + keys.beta * reverse_cross_entropy(log_p, t)


def _smooth(targets: Tensor, smoothing: float) -> Tensor:
    return targets if not smoothing else (1 - smoothing) * targets + smoothing / targets.shape[-1]


def cross_entropy(log_p: Tensor, targets: Tensor) -> Tensor:
    """Return -sum_c t_c log p_c over the last dimension."""
    return -(targets * log_p).sum(dim=-1)


def generalised_cross_entropy(log_p: Tensor, targets: Tensor, q: float) -> Tensor:
    """Return sum_c t_c (1 - p_c^q) / q over the last dimension (Zhang and Sabuncu 2018, equation 6)."""
    return (targets * -torch.expm1(q * log_p)).sum(dim=-1) / q


def reverse_cross_entropy(log_p: Tensor, targets: Tensor) -> Tensor:
    """Return -sum_c p_c log t_c over the last dimension, log t_c cut at -4 (Wang et al. 2019, section 3.2)."""
    log_t = targets.clamp_min(1e-12).log().clamp_min(LOWEST_LOG)
    return -(log_p.exp() * log_t).sum(dim=-1)
