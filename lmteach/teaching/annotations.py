"""From verdicts to pseudo-labels: which of the judged candidates become a document's positives.

Shape legend: n documents, k candidates each (padded), p positives in all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmteach.errors import RecipeError
from lmteach.teaching.calibration import sigmoid
from lmteach.tracking.arrays import read_arrays, write_arrays

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rule = Literal["threshold", "quantile", "top"]


@dataclass(frozen=True)
class AnnotationRule:
    """How verdicts become positives; the keys of a recipe's `annotation:`.

    With s_ij the score of document i's candidate j, over the scores that could be read:

    - `threshold`: j is positive if s_ij > `threshold`. LMTX's yes is log-odds above 0.
    - `quantile`: j is positive if s_ij > q, where q is the `quantile` of all read scores of the cycle. Sets
      the share of positives where a teacher's zero means nothing (likelihoods, standardised sums).
    - `top`: document i's best candidate is its only positive, kept where the lead m_i = s_i(1) - s_i(2) of
      the best over the second is among the largest `keep` share of documents. A lone read score leads by 0.
    """

    rule: Rule = "threshold"
    threshold: float = 0.0
    quantile: float = 0.8
    keep: float = 0.7

    def check(self) -> None:
        """Raise a RecipeError for a value that makes no sense."""
        if self.rule not in ("threshold", "quantile", "top"):
            raise RecipeError(f"There is no annotation rule '{self.rule}'.", where="annotation.rule")
        if not np.isfinite(self.threshold):
            raise RecipeError("A threshold must be a finite number.", where="annotation.threshold")
        if not 0 <= self.quantile < 1:
            raise RecipeError("A quantile lies between 0 and 1 (below 1).", where="annotation.quantile")
        if not 0 < self.keep <= 1:
            raise RecipeError("The kept share lies above 0 and up to 1.", where="annotation.keep")


@dataclass(frozen=True)
class AnnotationCounts:
    """What became of a cycle's documents and answers."""

    n_documents: int
    n_unjudged: int  # documents nobody was asked about: the budget ended before
    n_without: int  # judged documents that have no positive
    n_answers: int
    n_unread: int
    n_positives: int
    cutoff: float  # the score above which a label is positive; for `top` the smallest lead that was kept

    @property
    def yes_rate(self) -> float:
        """The share of read answers that became positives; NaN where none was read."""
        n_read = self.n_answers - self.n_unread
        return self.n_positives / n_read if n_read else float("nan")


@dataclass(frozen=True)
class Annotations:
    """The positives of n documents, as compressed sparse rows; documents without any have empty rows.

    Attributes:
        indptr: [n + 1]; document i's positives are at `indptr[i]:indptr[i + 1]`.
        label_ids: [p], ascending within a document.
        weights: [p], how sure each is; ones where the rule gives none.
        counts: what became of all documents and answers.
    """

    indptr: Ids
    label_ids: Ids
    weights: Scores
    counts: AnnotationCounts

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, i: int) -> Ids:
        """Return document i's positive label ids."""
        return self.label_ids[self.indptr[i] : self.indptr[i + 1]]

    @property
    def with_positives(self) -> Ids:
        """The positions of the documents that have a positive: those to train on."""
        return np.flatnonzero(np.diff(self.indptr)).astype(np.int64)

    def save(self, path: Path) -> None:
        """Write an .npz file; it appears under its name only when it is whole."""
        arrays: dict[str, Any] = {"indptr": self.indptr, "label_ids": self.label_ids, "weights": self.weights}
        arrays |= {f"counts_{name}": np.asarray(value) for name, value in asdict(self.counts).items()}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Annotations:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, damaged or something else.
        """
        with read_arrays(path, "The annotations", "Make this cycle again.") as file:
            fields = AnnotationCounts.__dataclass_fields__
            counts = AnnotationCounts(**{name: file[f"counts_{name}"].item() for name in fields})
            return cls(file["indptr"], file["label_ids"], file["weights"], counts)


def choose_positives(
    scores_nk: Scores,
    label_ids_nk: Ids,
    judged_nk: Mask,
    rule: AnnotationRule,
    *,
    weighted: bool = False,
) -> Annotations:
    """Apply a rule to a cycle's verdicts.

    Args:
        scores_nk: the scores; NaN = not read or not asked.
        label_ids_nk: the candidates' label ids; anything where `judged_nk` is False.
        judged_nk: where an answer came, read or not.
        rule: the rule.
        weighted: weigh each positive by sigmoid(score), the teacher's own probability where scores are
            log-odds; calibrate them first (`calibration.py`) where they are not.

    Raises:
        RecipeError: a value of the rule makes no sense.
    """
    rule.check()
    if not scores_nk.shape == label_ids_nk.shape == judged_nk.shape:
        shapes = f"{scores_nk.shape}, {label_ids_nk.shape} and {judged_nk.shape}"
        raise ValueError(f"scores, label ids and mask have shapes {shapes}")
    read_nk = judged_nk & ~np.isnan(scores_nk)
    if rule.rule == "top":
        chosen_nk, cutoff = _lead(scores_nk, read_nk, rule.keep)
    else:
        cutoff = rule.threshold if rule.rule == "threshold" else _quantile(scores_nk[read_nk], rule.quantile)
        chosen_nk = np.where(read_nk, scores_nk, -np.inf).astype(np.float64) > cutoff
    counts = AnnotationCounts(
        n_documents=len(scores_nk),
        n_unjudged=int((~judged_nk.any(axis=1)).sum()),
        n_without=int((judged_nk.any(axis=1) & ~chosen_nk.any(axis=1)).sum()),
        n_answers=int(judged_nk.sum()),
        n_unread=int((judged_nk & ~read_nk).sum()),
        n_positives=int(chosen_nk.sum()),
        cutoff=float(cutoff),
    )
    weights_nk = (
        sigmoid(scores_nk.astype(np.float64)).astype(np.float32) if weighted else np.ones_like(scores_nk)
    )
    return _sparse(chosen_nk, label_ids_nk, weights_nk, counts)


def _quantile(scores: Scores, quantile: float) -> float:
    return float(np.quantile(scores.astype(np.float64), quantile)) if len(scores) else float("inf")


def _lead(scores_nk: Scores, read_nk: Mask, keep: float) -> tuple[Mask, float]:
    """Return each surest document's best candidate, and the smallest lead among them."""
    chosen_nk = np.zeros_like(read_nk)
    rows = np.flatnonzero(read_nk.any(axis=1))
    if not len(rows):
        return chosen_nk, float("inf")
    known_rk = np.where(read_nk[rows], scores_nk[rows], -np.inf).astype(np.float64)
    best = known_rk.argmax(axis=1)
    ranked_rk = -np.sort(-known_rk, axis=1)
    lead = np.zeros(len(rows))
    if ranked_rk.shape[1] > 1:
        compared = np.isfinite(ranked_rk[:, 1])
        lead[compared] = ranked_rk[compared, 0] - ranked_rk[compared, 1]
    n_kept = max(1, int(np.floor(keep * len(rows) + 0.5)))
    kept = np.lexsort((rows, -ranked_rk[:, 0], -lead))[:n_kept]  # ties: the higher best, then the earlier row
    chosen_nk[rows[kept], best[kept]] = True
    return chosen_nk, float(lead[kept].min())


def _sparse(chosen_nk: Mask, label_ids_nk: Ids, weights_nk: Scores, counts: AnnotationCounts) -> Annotations:
    rows, columns = np.nonzero(chosen_nk)
    label_ids = label_ids_nk[rows, columns].astype(np.int64)
    order = np.lexsort((label_ids, rows))
    indptr = np.zeros(len(chosen_nk) + 1, dtype=np.int64)
    np.cumsum(chosen_nk.sum(axis=1), out=indptr[1:])
    weights = weights_nk[rows, columns][order].astype(np.float32)
    return Annotations(indptr, label_ids[order], weights, counts)
