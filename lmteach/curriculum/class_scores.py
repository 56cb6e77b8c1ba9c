"""A classifier against held-out gold. Shape legend: n documents, C classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.corpus.gold import Gold
from lmteach.corpus.texts import Texts
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.sharded import encode_in_parts
from lmteach.curriculum.supervision import one_hot
from lmteach.machine import choose_precision
from lmteach.metrics.classification import ClassificationScores, score_multi_label, score_single_label
from lmteach.metrics.intervals import bootstrap_intervals
from lmteach.metrics.ranking import score_ranking
from lmteach.metrics.values import Floats, PerDocument
from lmteach.students.class_student import ClassifierStudent, logits_of, probabilities
from lmteach.tracking.run_folder import RunFolder
from lmteach.tracking.test_scores import TestScores, name_documents

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents


def evaluate_classifier(
    context: RunContext, student: ClassifierStudent, folder: RunFolder | None = None
) -> dict[str, Any]:
    """Unseal test gold and score a classifier on it.

    Several ranks classify a part each, but for frozen backbones, whose store the first alone reads and writes.

    Args:
        folder: where what each test document scored is kept, for comparisons and reports; None = nowhere.

    Returns:
        `student`: metrics by name; `by_name` and `intervals` hold the same under the name `student`; `classes`:
        each class's f1 and number of documents; `test_documents`. Nothing on ranks other than the first.
    """
    test = context.corpus.test
    assert test is not None
    multilabel, settings = context.recipe.student.multilabel, context.recipe.evaluation
    logits_nC = _classify(context, student, test)
    if not context.ranks.is_first:
        return {}
    test.unseal()
    names = context.corpus.labels.names
    p_nC = probabilities(logits_nC, multilabel)
    scores, values = score_probabilities(p_nC, test.gold, multilabel=multilabel, ks=settings.ks)
    if folder is not None:
        _keep(context, folder, p_nC, values)
    bounds = bootstrap_intervals(values, resamples=settings.resamples, seed=context.recipe.seed)
    means = {**{name: value.mean() for name, value in values.items()}, **scores.numbers}
    assert scores.classes is not None
    return {
        "student": means,
        "by_name": {"student": means},
        "intervals": {"student": {name: [b.low, b.high] for name, b in bounds.items()}},
        "classes": [
            {"name": name, "f1": float(f1), "documents": int(n)}
            for name, f1, n in zip(names, scores.classes.f1_c, scores.classes.support_c, strict=True)
        ],
        "test_documents": len(test),
    }


def _classify(context: RunContext, student: ClassifierStudent, test: Documents) -> npt.NDArray[np.float32]:
    """Return the logits [n, C] of test documents; on ranks other than the first, those of their part."""
    n_classes = len(context.corpus.labels)

    def classify(rows: slice) -> npt.NDArray[np.float32]:
        positions = np.arange(rows.start, rows.stop, dtype=np.int64)
        if not len(positions):
            return np.zeros((0, n_classes), np.float32)
        inputs = student.read(Texts.of(test, positions), context.console)
        with context.console.stage("classify test documents", len(positions)) as progress:
            return logits_of(
                student,
                inputs,
                device=context.device,
                precision=choose_precision(context.recipe.training.precision, context.device),
                progress=progress.advance,
            )

    n, ranks = len(test), context.ranks
    if context.recipe.student.tuning == "frozen":
        return classify(slice(0, n if ranks.is_first else 0))
    return encode_in_parts(ranks, n, classify, lambda dim: np.empty((n, dim), np.float32))


def _keep(context: RunContext, folder: RunFolder, p_nC: Floats, values: dict[str, PerDocument]) -> None:
    """Write what the classifier said of each test document."""
    test = context.corpus.test
    assert test is not None
    n, deepest = len(test), max(context.recipe.evaluation.ks)
    ids_nk = np.argsort(-p_nC, axis=1, kind="stable")[:, :deepest]
    TestScores(
        documents=name_documents(test.ids, test.gold, context.corpus.labels.names),
        n_documents=n,
        chosen="student",
        values={"student": values},
        rows_m=np.arange(n, dtype=np.int64),
        gold=test.gold,
        label_ids={"student": ids_nk.astype(np.int32)},
        scores={"student": np.take_along_axis(p_nC, ids_nk, axis=1).astype(np.float32)},
    ).save(folder.path)


def score_probabilities(
    p_nC: Floats, gold: Gold, *, multilabel: bool, ks: list[int]
) -> tuple[ClassificationScores, dict[str, PerDocument]]:
    """Score probabilities against gold: the likeliest class, or all above one half and their ranking.

    Returns:
        The scores, and the per-document values of all metrics, over the same documents.
    """
    n_classes = p_nC.shape[1]
    targets_nC = one_hot(gold, n_classes, multilabel)
    if not multilabel:
        scores = score_single_label(p_nC.argmax(1), targets_nC.argmax(1), n_classes, p_nC)
        return scores, scores.values
    scores = score_multi_label(p_nC > 0.5, targets_nC > 0, p_nC)
    ranked_nk = np.argsort(-p_nC, axis=1, kind="stable")
    ranking = score_ranking(ranked_nk, gold, [k for k in ks if k <= n_classes] or [1])
    return scores, {**scores.values, **_over_all(ranking.values, np.diff(gold.indptr) > 0)}


def _over_all(values: dict[str, PerDocument], scored_n: Any) -> dict[str, PerDocument]:
    """Return values of the documents that have gold as values over all: those without count for nothing."""
    spread = {}
    for name, value in values.items():
        upper, lower = np.zeros(len(scored_n)), np.zeros(len(scored_n))
        upper[scored_n] = value.numerators
        lower[scored_n] = 1.0 if value.denominators is None else value.denominators
        spread[name] = PerDocument(upper, lower)
    return spread
