"""What a student's score is worth: a probability, and the cuts that decide how many tags a text gets.

Fitted on documents apart from training, on the student's own ranking: against the verdicts of its teacher, or
against gold. Shape legend: n documents, k candidates of each. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError, RunError, nearest_name
from lmteach.teaching.calibration import calibrate, sigmoid, threshold_at_precision

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

THRESHOLDS = ("f1", "precision", "recall")  # what a threshold on the score may aim at


def check_name(name: str) -> None:
    """Make sure that a threshold has one of the names there are.

    Raises:
        LmteachError: it has not.
    """
    if name not in THRESHOLDS:
        raise LmteachError(
            f"There is no threshold '{name}'.",
            nearest=nearest_name(name, THRESHOLDS),
            mend=f"Use {', '.join(THRESHOLDS)}, or a probability between 0 and 1.",
        )


@dataclass(frozen=True)
class Targets:
    """What the thresholds `precision` and `recall` aim at; `f1` needs no aim."""

    precision: float = 0.8
    recall: float = 0.8

    def check(self) -> None:
        """Raise an LmteachError for an aim that is no share."""
        for name, value in asdict(self).items():
            if not 0 < value < 1:
                raise LmteachError(f"A {name} of {value} cannot be aimed at; give a share between 0 and 1.")


@dataclass(frozen=True)
class Candidates:
    """A student's ranked labels of n documents, and what is known of them.

    Attributes:
        scores_nk: the student's scores.
        known_nk: where somebody said whether the label is right.
        right_nk: whether it is; False where not known.
        n_right: labels that are right in all, those that the student did not rank among its k included.
    """

    scores_nk: Scores
    known_nk: Mask
    right_nk: Mask
    n_right: int


@dataclass(frozen=True)
class ScoreCalibration:
    """p(label is right | score s) = sigmoid(scale * s + bias), and score thresholds.

    Attributes:
        scale, bias: by Platt scaling. Scale 0: the score says nothing, every label gets the base rate.
        thresholds: the least score of a tag, by name (`f1`, `precision`, `recall`); None where the aim was not
            reached on the documents that it was fitted on.
        reached: what each threshold reached there: precision, recall and f1 over all tags together.
        targets: what was aimed at.
        fitted_on: in words.
        n_documents, n, n_right: documents, known labels, and how many of them were right.
    """

    scale: float
    bias: float
    thresholds: Mapping[str, float | None]
    reached: Mapping[str, Mapping[str, float]]
    targets: Mapping[str, float]
    fitted_on: str
    n_documents: int
    n: int
    n_right: int
    format: int = field(default=1)

    def probabilities(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return how likely each label is right."""
        return sigmoid(self.scale * np.asarray(scores, dtype=np.float64) + self.bias)

    def least_score(self, name: str) -> float:
        """Return the threshold of that name.

        Raises:
            LmteachError: there is none of that name, or its aim was not reached.
        """
        check_name(name)
        threshold = self.thresholds[name]
        if threshold is None:
            aim = self.targets.get(name)
            raise LmteachError(
                f"No threshold reaches {name}{'' if aim is None else f' {aim:g}'} on {self.fitted_on}.",
                mend="Use threshold='f1' or a probability, or export again with a lower aim.",
            )
        return threshold

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScoreCalibration:
        """Read what `to_dict` gave.

        Raises:
            RunError: keys are missing or unknown.
        """
        wrong = {f.name for f in fields(cls)} ^ set(values)
        if wrong:
            raise RunError(f"A calibration has missing or unknown keys: {', '.join(sorted(wrong))}.")
        return cls(**values)


def fit_calibration(candidates: Candidates, fitted_on: str, targets: Targets) -> ScoreCalibration | None:
    """Fit probabilities and thresholds; None where nothing is known of any candidate."""
    targets.check()
    known = candidates.known_nk & np.isfinite(candidates.scores_nk)
    scores = candidates.scores_nk[known].astype(np.float64)
    right = candidates.right_nk[known]
    if not len(scores):
        return None
    fitted = calibrate(scores, right)
    n_right = int(right.sum())
    if fitted.scale <= 0:  # on these documents a higher score did not mean more often right
        rate = (n_right + 1) / (len(scores) + 2)
        scale, bias = 0.0, float(np.log(rate / (1 - rate)))
    else:
        scale, bias = fitted.scale, fitted.bias
    thresholds = {
        "f1": _best_f1(scores, right, candidates.n_right),
        "precision": _at_precision(scores, right, targets.precision),
        "recall": _at_recall(scores, right, candidates.n_right, targets.recall),
    }
    reached = {
        name: _reached(scores, right, candidates.n_right, threshold)
        for name, threshold in thresholds.items()
        if threshold is not None
    }
    return ScoreCalibration(
        scale=scale,
        bias=bias,
        thresholds=thresholds,
        reached=reached,
        targets=asdict(targets),
        fitted_on=fitted_on,
        n_documents=len(candidates.scores_nk),
        n=len(scores),
        n_right=n_right,
    )


def _cuts(
    scores: npt.NDArray[np.float64], right: Mask
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return every distinct score as a cut, falling, with the labels and the right labels at or above it."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[:-1] > ranked[1:], True)  # of its equals
    n_kept = np.flatnonzero(last) + 1
    return ranked[last], n_kept, np.cumsum(right[order])[last].astype(np.int64)


def _best_f1(scores: npt.NDArray[np.float64], right: Mask, n_right: int) -> float | None:
    cuts, n_kept, n_hit = _cuts(scores, right)
    if not n_hit[-1]:
        return None
    return float(cuts[int((2 * n_hit / (n_kept + n_right)).argmax())])


def _at_precision(scores: npt.NDArray[np.float64], right: Mask, precision: float) -> float | None:
    threshold = threshold_at_precision(scores, right, precision)
    return threshold if np.isfinite(threshold) else None


def _at_recall(scores: npt.NDArray[np.float64], right: Mask, n_right: int, recall: float) -> float | None:
    cuts, _, n_hit = _cuts(scores, right)
    enough = np.flatnonzero(n_hit >= recall * n_right - 1e-9) if n_right else np.zeros(0, dtype=np.int64)
    return float(cuts[enough[0]]) if len(enough) else None


def _reached(
    scores: npt.NDArray[np.float64], right: Mask, n_right: int, threshold: float
) -> dict[str, float]:
    kept = scores >= threshold
    hit, n_kept = int(right[kept].sum()), int(kept.sum())
    return {
        "precision": hit / n_kept if n_kept else 0.0,
        "recall": hit / n_right if n_right else 0.0,
        "f1": 2 * hit / (n_kept + n_right) if n_kept + n_right else 0.0,
    }
