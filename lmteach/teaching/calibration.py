"""What a teacher's scores are worth: probabilities by Platt or temperature scaling, a threshold by precision.

Fitted on a handful of documents with gold, or on a stronger teacher's verdicts; numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmteach.errors import RunError

Numbers = npt.NDArray[np.float64]
Method = Literal["platt", "temperature"]
Z = 1.6448536269514722  # one-sided 95%
N_STEPS = 100


@dataclass(frozen=True)
class Calibration:
    """A teacher's calibration: p(relevant | score s) = sigmoid(scale * s + bias).

    Attributes:
        teacher: the identity of the teacher it holds for.
        method: `temperature` fits only the scale (1 / temperature), `platt` the bias too.
        scale, bias: of the raw score, to log-odds.
        threshold: the lowest raw score above which precision is at least `precision`, with 95% confidence by
            Wilson's lower bound; infinite where the data show no such score.
        precision: the target that the threshold was chosen for.
        n, n_yes: how many answers it was fitted on, and how many of them were relevant.
        loss_before, loss_after: mean log loss in nats of sigmoid(s) and of the calibrated probability.
    """

    teacher: str
    method: Method
    scale: float
    bias: float
    threshold: float
    precision: float
    n: int
    n_yes: int
    loss_before: float
    loss_after: float

    @property
    def informative(self) -> bool:
        """Whether a higher score means more relevant at all."""
        return self.scale > 0

    def log_odds(self, scores: npt.ArrayLike) -> Numbers:
        """Return calibrated log-odds of raw scores; NaN stays NaN."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.bias

    def probability(self, scores: npt.ArrayLike) -> Numbers:
        """Return the probability of relevance of raw scores; NaN stays NaN."""
        return sigmoid(self.log_odds(scores))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = asdict(self)
        return {**values, "threshold": self.threshold if np.isfinite(self.threshold) else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` gave.

        Raises:
            RunError: keys are missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            wrong = ", ".join(sorted(names ^ set(values)))
            raise RunError(f"A calibration has missing or unknown keys: {wrong}.")
        threshold = values["threshold"]
        return cls(**{**values, "threshold": float("inf") if threshold is None else float(threshold)})


def calibrate(
    scores: npt.ArrayLike,
    relevant: npt.ArrayLike,
    *,
    teacher: str = "",
    method: Method = "platt",
    precision: float = 0.9,
) -> Calibration:
    """Fit a calibration on answers whose truth is known.

    Platt (1999): scale a and bias b minimise the cross-entropy of sigmoid(a s + b) against the targets
    (n_yes + 1) / (n_yes + 2) and 1 / (n_no + 2) instead of 1 and 0, by Newton's method with a line search;
    the targets keep separable data from infinite scales. Guo et al. (2017): b = 0 gives temperature scaling.

    Args:
        scores: raw scores; those that could not be read (NaN) are left out.
        relevant: whether each was relevant; same shape.
        teacher: its identity.
        method: see `Calibration`.
        precision: the target of the threshold, within (0, 1).

    Raises:
        ValueError: shapes differ, no score was read, or `precision` is out of range.
    """
    s, y = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(relevant, dtype=bool).ravel()
    if s.shape != y.shape:
        raise ValueError(f"{s.size} scores, {y.size} truths")
    if not 0 < precision < 1:
        raise ValueError(f"precision {precision} does not lie between 0 and 1")
    s, y = s[~np.isnan(s)], y[~np.isnan(s)]
    if not len(s):
        raise ValueError("no score could be read")
    scale, bias = _fit(s, y, with_bias=method == "platt")
    return Calibration(
        teacher=teacher,
        method=method,
        scale=scale,
        bias=bias,
        threshold=threshold_at_precision(s, y, precision),
        precision=precision,
        n=len(s),
        n_yes=int(y.sum()),
        loss_before=_log_loss(s, y),
        loss_after=_log_loss(scale * s + bias, y),
    )


def threshold_at_precision(scores: Numbers, relevant: npt.NDArray[np.bool_], precision: float) -> float:
    """Return the lowest threshold above which precision is at least the target with 95% confidence.

    Among all cuts between two distinct scores (and below the lowest), the one that keeps most answers while
    Wilson's one-sided lower bound of the kept answers' precision reaches the target; infinite if none does.
    The cut is chosen on the data it is tested on, so the bound is a little too hopeful.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    n_kept = np.arange(1, len(ranked) + 1, dtype=np.float64)
    bound = wilson_lower(np.cumsum(relevant[order]), n_kept)
    is_cut = np.append(ranked[:-1] > ranked[1:], True)
    good = np.flatnonzero(is_cut & (bound >= precision))
    if not len(good):
        return float("inf")
    last = int(good[-1])
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last] - 1.0
    middle = below + (ranked[last] - below) / 2
    return float(middle if middle < ranked[last] else below)  # neighbouring floats have no middle


def wilson_lower(n_yes: npt.ArrayLike, n: npt.ArrayLike, z: float = Z) -> Numbers:
    """Return Wilson's lower bound of a proportion: n_yes of n, at `z` standard errors."""
    count, total = np.asarray(n_yes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    p = count / total
    centre = p + z * z / (2 * total)
    spread = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return np.maximum(0.0, (centre - spread) / (1 + z * z / total))


def _fit(scores: Numbers, relevant: npt.NDArray[np.bool_], *, with_bias: bool) -> tuple[float, float]:
    """Return (scale, bias) by Newton's method on standardised scores, which makes the Hessian well-formed."""
    n_yes, n_no = int(relevant.sum()), int((~relevant).sum())
    targets = np.where(relevant, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    centre = float(scores.mean()) if with_bias else 0.0
    spread = float(np.sqrt(np.mean((scores - centre) ** 2))) or 1.0
    x = (scores - centre) / spread
    design = np.stack([x, np.ones_like(x)], axis=1) if with_bias else x[:, None]
    w = np.zeros(design.shape[1])
    loss = _cross_entropy(design @ w, targets)
    for _ in range(N_STEPS):
        p = sigmoid(design @ w)
        gradient = design.T @ (p - targets)
        if np.abs(gradient).max() < 1e-10 * len(scores):
            break
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(len(w))
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while (new := _cross_entropy(design @ (w - size * step), targets)) > loss and size > 1e-10:
            size /= 2
        w, loss = w - size * step, min(new, loss)
    scale = float(w[0]) / spread
    return scale, (float(w[1]) - scale * centre) if with_bias else 0.0


def _cross_entropy(log_odds: Numbers, targets: Numbers) -> float:
    return float(np.sum(np.logaddexp(0.0, log_odds) - targets * log_odds))


def _log_loss(log_odds: Numbers, relevant: npt.NDArray[np.bool_]) -> float:
    return _cross_entropy(log_odds, relevant.astype(np.float64)) / len(log_odds)


def sigmoid(log_odds: Numbers) -> Numbers:
    """Return probabilities; NaN stays NaN, and great numbers do not overflow."""
    with np.errstate(invalid="ignore"):  # an unread answer has no probability either
        result: Numbers = np.exp(-np.logaddexp(0.0, -log_odds))
    return result
