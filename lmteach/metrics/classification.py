"""Classification metrics, one class or several a document, with per-document values where a mean allows them.

Shape legend: n documents, c classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError
from lmteach.metrics.values import Floats, PerDocument

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall, F1 and number of gold documents of each class, each [c].

    A class that is never predicted has precision 0, one without gold recall 0, and F1 is 0 with either; a
    class with neither prediction nor gold has no defined score: nan.
    """

    precision_c: Floats
    recall_c: Floats
    f1_c: Floats
    support_c: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassificationScores:
    """What predictions scored.

    Attributes:
        values: per-document values: `accuracy` (all of a document's classes right), `micro_f1` (as a ratio of
            sums) and, given probabilities, `brier`.
        numbers: what is no mean over documents: `macro_f1` (over the classes that occur in gold or
            prediction) and, given probabilities, `ece`.
        classes: per-class scores.
    """

    values: dict[str, PerDocument]
    numbers: dict[str, float] = field(default_factory=dict)
    classes: ClassScores | None = None

    def means(self) -> dict[str, float]:
        """Return every metric as one number."""
        return {**{name: value.mean() for name, value in self.values.items()}, **self.numbers}


def score_single_label(
    predicted_n: npt.NDArray[np.integer],
    gold_n: npt.NDArray[np.integer],
    n_classes: int,
    probabilities_nc: Floats | None = None,
    *,
    bins: int = 15,
) -> ClassificationScores:
    """Score one predicted class a document; -1 = no answer, which is wrong whatever the gold.

    Brier is the sum over classes of (p - y)^2, between 0 and 2 a document. The calibration error takes the
    greatest probability of a document as its confidence and asks whether that class is the gold one.

    Raises:
        LmteachError: shapes or class ids do not fit, or rows of `probabilities_nc` do not sum to 1.
    """
    predicted_n, gold_n = np.asarray(predicted_n), np.asarray(gold_n)
    _check_ids(predicted_n, gold_n, n_classes)
    classes = np.arange(n_classes)
    scores = _score(predicted_n[:, None] == classes, gold_n[:, None] == classes)
    if probabilities_nc is not None:
        p_nc = _checked_probabilities(probabilities_nc, (len(gold_n), n_classes))
        if np.abs(p_nc.sum(axis=1) - 1.0).max(initial=0.0) > 1e-3:
            raise LmteachError("The probabilities of a document's classes do not sum to 1.")
        scores.values["brier"] = PerDocument(((p_nc - (gold_n[:, None] == classes)) ** 2).sum(axis=1))
        right = p_nc.argmax(axis=1) == gold_n
        scores.numbers["ece"] = expected_calibration_error(p_nc.max(axis=1, initial=0.0), right, bins=bins)
    return scores


def score_multi_label(
    predicted_nc: Bools, gold_nc: Bools, probabilities_nc: Floats | None = None, *, bins: int = 15
) -> ClassificationScores:
    """Score any number of predicted classes a document.

    Brier is the mean over classes of (p - y)^2, between 0 and 1 a document. The calibration error takes each
    document-class pair for itself, with its probability as confidence.

    Raises:
        LmteachError: shapes do not fit, or probabilities are not between 0 and 1.
    """
    predicted_nc, gold_nc = np.asarray(predicted_nc, dtype=bool), np.asarray(gold_nc, dtype=bool)
    if predicted_nc.ndim != 2 or predicted_nc.shape != gold_nc.shape:
        raise LmteachError(f"Predictions {predicted_nc.shape} and gold {gold_nc.shape} must both be [n, c].")
    scores = _score(predicted_nc, gold_nc)
    if probabilities_nc is not None:
        p_nc = _checked_probabilities(probabilities_nc, gold_nc.shape)
        scores.values["brier"] = PerDocument(((p_nc - gold_nc) ** 2).mean(axis=1))
        scores.numbers["ece"] = expected_calibration_error(p_nc.ravel(), gold_nc.ravel(), bins=bins)
    return scores


def expected_calibration_error(confidence_m: Floats, right_m: Bools, *, bins: int = 15) -> float:
    """Return how far confidence is from the share that is right (Guo et al. 2017); nan without predictions.

    Confidences are sorted into `bins` bins of equal width, ((b - 1) / bins, b / bins], 0 in the first one.
    The error is the mean over predictions of |share right - mean confidence| of their bin.
    """
    confidence = np.asarray(confidence_m, dtype=np.float64)
    if not len(confidence):
        return float("nan")
    bin_m = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    right = np.bincount(bin_m, weights=np.asarray(right_m, dtype=np.float64), minlength=bins)
    confident = np.bincount(bin_m, weights=confidence, minlength=bins)
    return float(np.abs(right - confident).sum() / len(confidence))


def score_classes(predicted_nc: Bools, gold_nc: Bools) -> ClassScores:
    """Return each class's scores."""
    n_right = (predicted_nc & gold_nc).sum(axis=0).astype(np.float64)
    n_predicted, n_gold = predicted_nc.sum(axis=0), gold_nc.sum(axis=0)
    precision = _share(n_right, n_predicted)
    recall = _share(n_right, n_gold)
    f1 = _share(2 * n_right, n_predicted + n_gold)
    absent = n_predicted + n_gold == 0
    for scores in (precision, recall, f1):
        scores[absent] = np.nan
    return ClassScores(precision, recall, f1, n_gold.astype(np.int64))


def _score(predicted_nc: Bools, gold_nc: Bools) -> ClassificationScores:
    classes = score_classes(predicted_nc, gold_nc)
    n_right = (predicted_nc & gold_nc).sum(axis=1).astype(np.float64)
    n_both = (predicted_nc.sum(axis=1) + gold_nc.sum(axis=1)).astype(np.float64)
    values = {
        "accuracy": PerDocument((predicted_nc == gold_nc).all(axis=1).astype(np.float64)),
        "micro_f1": PerDocument(2 * n_right, n_both),
    }
    defined = classes.f1_c[~np.isnan(classes.f1_c)]
    return ClassificationScores(
        values, {"macro_f1": float(defined.mean()) if len(defined) else float("nan")}, classes
    )


def _share(upper: Floats, lower: npt.NDArray[np.integer]) -> Floats:
    shares: Floats = np.divide(upper, lower, out=np.zeros_like(upper), where=lower > 0)
    return shares


def _check_ids(predicted_n: npt.NDArray[np.integer], gold_n: npt.NDArray[np.integer], n_classes: int) -> None:
    if predicted_n.ndim != 1 or predicted_n.shape != gold_n.shape:
        raise LmteachError(f"Predictions {predicted_n.shape} and gold {gold_n.shape} must both be [n].")
    for what, ids, least in (("Gold", gold_n, 0), ("Predicted", predicted_n, -1)):
        if len(ids) and not least <= ids.min() <= ids.max() < n_classes:
            raise LmteachError(
                f"{what} classes {ids.min()} to {ids.max()} are not all of {least} to {n_classes - 1}."
            )


def _checked_probabilities(probabilities_nc: Floats, shape: tuple[int, ...]) -> Floats:
    p_nc = np.asarray(probabilities_nc, dtype=np.float64)
    if p_nc.shape != shape:
        raise LmteachError(f"Probabilities of shape {p_nc.shape} do not fit gold of shape {shape}.")
    if not ((p_nc >= 0) & (p_nc <= 1 + 1e-6)).all():
        raise LmteachError("Probabilities must be between 0 and 1, and none may be NaN.")
    return p_nc
