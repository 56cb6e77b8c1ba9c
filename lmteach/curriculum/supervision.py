"""Whose labels a classifier learns, by the recipe's `supervision`: gold, a teacher's, or one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmteach.corpus.texts import Texts
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.labelled import LabelledTexts, one_hot
from lmteach.errors import CorpusError, RecipeError
from lmteach.tracking.run_folder import RunFolder

__all__ = ["LabelledTexts", "gold_texts", "label_documents", "one_hot"]

REGIMES = ("gold", "teacher", "teacher_extra", "combined")


def label_documents(context: RunContext, folder: RunFolder) -> list[LabelledTexts]:
    """Return what is learned, stage by stage: a student trains on the first, goes on with the second.

    The regimes of LlamBERT (Csanády et al. 2024, section 4), over the training documents that the curriculum
    selects and the corpus' unlabelled `extra` ones:

    - `gold`: the training documents with their gold.
    - `teacher`: the training documents with the teacher's labels.
    - `teacher_extra`: training and extra documents with the teacher's labels.
    - `combined`: the extra documents with the teacher's labels, and then (`combine: sequential`) or together
      with them (`concat`) the training documents with their gold.

    Raises:
        CorpusError: the documents have no gold, or other than one class each where one is expected.
        RecipeError: the regime needs extra documents, and the recipe asks for none.
        TeacherError: the teacher cannot answer; what it answered before is in the store.
    """
    recipe = context.recipe
    train = context.first_positions()
    if recipe.supervision == "gold":
        return [gold_texts(context, train)]
    from lmteach.curriculum.teacher_labels import teacher_texts

    if recipe.supervision == "teacher":
        return [teacher_texts(context, folder, "train", train)]
    if context.corpus.extra is None:
        raise RecipeError(
            f"supervision = {recipe.supervision} labels documents beside the training ones, and there are none.",
            where="corpus.n_extra",
            mend="Set corpus.n_extra to how many, or null for all of the corpus' `extra` or `unsup` documents.",
        )
    extra = teacher_texts(context, folder, "extra", np.arange(len(context.corpus.extra), dtype=np.int64))
    if recipe.supervision == "teacher_extra":
        return [teacher_texts(context, folder, "train", train).followed_by(extra)]
    gold = gold_texts(context, train)
    return [extra, gold] if recipe.combine == "sequential" else [extra.followed_by(gold)]


def gold_texts(context: RunContext, positions: npt.NDArray[np.int64]) -> LabelledTexts:
    """Return training documents with their gold.

    Raises:
        CorpusError: they have none, or other than one class each where one is expected.
    """
    documents = context.corpus.train
    if not documents.has_gold:
        raise CorpusError(
            f"supervision = {context.recipe.supervision} needs gold labels, and these documents have none."
        )
    chosen = documents.take(positions)
    targets_nC = one_hot(chosen.gold, len(context.corpus.labels), context.recipe.student.multilabel)
    weights_n = np.ones(len(positions), np.float32)
    return LabelledTexts(Texts.of(chosen), targets_nC, weights_n, Texts.of(chosen, field="id"))
