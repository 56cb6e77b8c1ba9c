"""One cycle's pseudo-labels: shortlist, judge, choose. Every step leaves a file and is done once.

shortlist.npz    the labels nearest to each document, by the last cycle's student
verdicts.npz     the teacher's score of each judged one
annotations.npz  the positives chosen from them
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.corpus.documents import Column
from lmteach.curriculum.calibrating import calibrated_rule
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import judge_or_load
from lmteach.curriculum.shortlisting import make_or_load_shortlist
from lmteach.errors import RunError
from lmteach.teaching.annotations import AnnotationRule, Annotations, choose_positives

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.curriculum.datamodule import PseudoLabels
    from lmteach.recipe.schema import Recipe
    from lmteach.students.protocol import Encoder


def make_pseudo_labels(
    context: RunContext, encoder: Encoder, positions: npt.NDArray[np.int64], folder: Path
) -> PseudoLabels:
    """Label the training documents at `positions`; what `folder` already holds is not made again.

    Args:
        encoder: the student that makes the shortlist.
        folder: the cycle's.

    Raises:
        RunError: no document got a positive.
    """
    documents, labels = context.corpus.train, context.corpus.labels
    shortlist = make_or_load_shortlist(context, encoder, documents, positions, folder / "shortlist.npz")
    judged = judge_or_load(
        context, documents, shortlist, context.recipe.search.n_judged, folder / "verdicts.npz"
    )
    ranks, path = context.ranks, folder / "annotations.npz"
    rule = calibrated_rule(context, documents, shortlist, judged, recipe_rule(context.recipe), folder)
    annotations = choose_positives(
        judged.scores_nk, judged.label_ids_nk.astype(np.int64), judged.judged_nk, rule
    )
    ranks.first_alone(lambda: annotations.save(path))
    if not ranks.is_first:
        annotations = Annotations.load(path)  # one file decides for all
    return pseudo_labels(documents, positions, annotations, labels.texts)


def recipe_rule(recipe: Recipe) -> AnnotationRule:
    """Return a recipe's annotation rule, uncalibrated."""
    settings = recipe.annotation
    return AnnotationRule(settings.rule, settings.threshold, settings.quantile, settings.keep)


def pseudo_labels(
    documents: Documents,
    positions: npt.NDArray[np.int64],
    annotations: Annotations,
    label_texts: Sequence[str],
) -> PseudoLabels:
    """Return the annotated documents that have a positive.

    Raises:
        RunError: none has.
    """
    rows = annotations.with_positives
    if not len(rows):
        counts = annotations.counts
        raise RunError(
            f"The teacher affirmed none of {counts.n_answers} candidates ({counts.n_unread} unread), so there "
            "is nothing to train on.",
            mend="Look at its verdicts with `lmteach audit`; another prompt, or annotation.rule=quantile, may help.",
        )
    from lmteach.curriculum.datamodule import PseudoLabels  # imports lightning, which takes seconds

    return PseudoLabels(
        texts=Column(documents.take(positions[rows]), "text"),
        yes=[annotations.of(int(row)) for row in rows],
        label_texts=label_texts,
    )
