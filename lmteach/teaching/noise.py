"""Labels that may be wrong: how much each counts, which are suspect, and how often a teacher errs.

Shape legend: n documents, C classes, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError, missing_package

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
N_FOLDS = 5


def probabilities(log_odds_nC: Floats, *, multilabel: bool) -> Floats:
    """Return class probabilities of a teacher's log-probabilities, or of its log-odds where several may apply."""
    return np.asarray(1 / (1 + np.exp(-log_odds_nC)) if multilabel else np.exp(log_odds_nC))


def targets(log_odds_nC: Floats, *, multilabel: bool, soft: bool, threshold: float = 0.0) -> Floats:
    """Return what a student is to learn of read verdicts.

    Soft: the teacher's probabilities. Hard: its best class, or, where several may apply, every class whose
    log-odds are above `threshold`.
    """
    if soft:
        return probabilities(log_odds_nC, multilabel=multilabel)
    if multilabel:
        return np.asarray(log_odds_nC > threshold, dtype=np.float64)
    best_nC: Floats = np.eye(log_odds_nC.shape[1])[log_odds_nC.argmax(axis=1)]
    return best_nC


def confidence_weights(log_odds_nC: Floats, *, multilabel: bool) -> Floats:
    """Return weights by the teacher's margin, with mean 1: p_best - p_second, or the mean |2p - 1| of classes.

    All alike where every margin is 0.
    """
    p_nC = probabilities(log_odds_nC, multilabel=multilabel)
    if multilabel:
        margin_n = np.abs(2 * p_nC - 1).mean(axis=1)
    else:
        ordered = np.sort(p_nC, axis=1)
        margin_n = ordered[:, -1] - ordered[:, -2]
    mean = margin_n.mean() if len(margin_n) else 0.0
    return np.asarray(margin_n / mean) if mean > 0 else np.ones(len(margin_n))


def cross_validated(
    vectors_nD: npt.NDArray[np.float32], labels_n: Labels, n_classes: int, seed: int
) -> Floats:
    """Return each document's class probabilities by a logistic regression that has not seen it.

    Five folds; a class that a fold's other documents lack gets probability 0 there.

    Raises:
        PluginError: scikit-learn is not installed.
        LmteachError: there are fewer than two classes or ten documents to learn from.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise _needs("scikit-learn") from error
    if len(labels_n) < 2 * N_FOLDS or len(np.unique(labels_n)) < 2:
        raise LmteachError(
            f"{len(labels_n)} documents of {len(np.unique(labels_n))} classes are too few to tell wrong labels.",
            where="noise.drop",
        )
    order = np.random.default_rng([seed, *b"folds"]).permutation(len(labels_n))
    # Dealt out class by class, so that each fold has its share of every class.
    order = order[np.argsort(labels_n[order], kind="stable")]
    fold_n = np.empty(len(labels_n), np.int64)
    fold_n[order] = np.arange(len(labels_n)) % N_FOLDS
    probs_nC = np.zeros((len(labels_n), n_classes))
    for fold in range(N_FOLDS):
        held, rest = np.flatnonzero(fold_n == fold), np.flatnonzero(fold_n != fold)
        present = np.unique(labels_n[rest])
        if len(present) == 1:
            probs_nC[held, present[0]] = 1.0
            continue
        model = LogisticRegression(C=10.0, max_iter=1000).fit(vectors_nD[rest], labels_n[rest])
        probs_nC[np.ix_(held, model.classes_)] = model.predict_proba(vectors_nD[held])
    return probs_nC


def flag_mislabelled(labels_n: Labels, probs_nC: Floats) -> npt.NDArray[np.bool_]:
    """Return which labels confident learning takes for wrong (Northcutt et al. 2021, prune by noise rate).

    Args:
        probs_nC: out-of-sample probabilities, as of `cross_validated`.

    Raises:
        PluginError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise _needs("cleanlab") from error
    return np.asarray(find_label_issues(labels_n, probs_nC, filter_by="prune_by_noise_rate", n_jobs=1))


@dataclass(frozen=True)
class ClassErrors:
    """How often a teacher errs, class by class; each joint sums to 1.

    Attributes:
        joint_CC: share of documents, row = what the teacher said, column = what is true.
        by: `gold`, or `confident joint` where the truth is only estimated.
        n_documents: how many it rests on.
    """

    joint_CC: Floats
    by: str
    n_documents: int

    @property
    def rate(self) -> float:
        """The share of documents that the teacher has wrong."""
        return max(0.0, float(1 - np.trace(self.joint_CC)))

    @property
    def missed(self) -> Floats:
        """Of the documents that are truly of a class, the share that the teacher has wrong; NaN without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - np.diag(self.joint_CC) / self.joint_CC.sum(axis=0))

    @property
    def misapplied(self) -> Floats:
        """Of the documents that the teacher puts in a class, the share that do not belong; NaN without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - np.diag(self.joint_CC) / self.joint_CC.sum(axis=1))


def errors_by_gold(labels_n: Labels, gold_n: Labels, n_classes: int) -> ClassErrors:
    """Count a teacher's labels against gold."""
    joint_CC = np.zeros((n_classes, n_classes))
    np.add.at(joint_CC, (labels_n, gold_n), 1)
    return ClassErrors(joint_CC / max(1, len(labels_n)), "gold", len(labels_n))


def errors_without_gold(labels_n: Labels, probs_nC: Floats) -> ClassErrors:
    """Estimate the joint of a teacher's labels and the truth (confident joint, Northcutt et al. 2021, section 3).

    It takes the teacher's errors to depend on the class alone: errors that follow the content, which the
    student's features see as well, go unseen.

    Raises:
        PluginError: cleanlab is not installed.
    """
    try:
        from cleanlab.count import estimate_joint
    except ImportError as error:
        raise _needs("cleanlab") from error
    return ClassErrors(np.asarray(estimate_joint(labels_n, probs_nC)), "confident joint", len(labels_n))


def _needs(package: str) -> LmteachError:
    return missing_package(package, needed_by="Finding wrong labels", command="pip install 'lmteach[noise]'")
