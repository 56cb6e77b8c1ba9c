"""Documents with a teacher's classes: what it said, made fit to learn from as the recipe's `noise` section asks.

labels/PART.npz    the teacher's verdicts on `train` or `extra` documents
labels/PART.json   what became of them, and the teacher against gold where there is any

Shape legend: n documents, r of them read, C classes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lmteach import registry
from lmteach.corpus.texts import Texts
from lmteach.curriculum.class_teacher import ask_classes, asked_classes
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.labelled import LabelledTexts, one_hot
from lmteach.curriculum.shortlisting import encode
from lmteach.errors import RunError
from lmteach.teaching import noise
from lmteach.teaching.class_verdicts import ClassVerdicts
from lmteach.tracking.run_folder import RunFolder, read_json, write_json

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.students.protocol import Encoder

Part = Literal["train", "extra"]
PARTS: tuple[Part, ...] = ("train", "extra")


def teacher_texts(
    context: RunContext, folder: RunFolder, part: Part, positions: npt.NDArray[np.int64]
) -> LabelledTexts:
    """Have the teacher label documents of one part; return those that it could, as the recipe wants them learned.

    Raises:
        RunError: no document got a label.
        TeacherError: the teacher cannot answer.
    """
    documents = context.corpus.train if part == "train" else context.corpus.extra
    assert documents is not None
    path = folder.path / "labels" / f"{part}.npz"
    verdicts = ask_classes(context, documents, positions, path)
    rows = np.flatnonzero(verdicts.read_n)
    if not len(rows):
        raise RunError(
            f"The teacher labelled none of {len(positions)} {part} documents "
            f"({int(verdicts.judged_n.sum())} judged, none read).",
            mend="Look at its answers with `lmteach audit`; classes.names or another prompt may help.",
        )
    labelled, dropped_r = _learnable(context, documents, positions[rows], verdicts.log_odds_nC[rows])
    summary = summarise(context, documents, positions, verdicts)
    summary |= {"dropped": int(dropped_r.sum()), "dropped_of_wrong": _caught(context, summary, dropped_r)}
    summary.pop("wrong_r", None)
    _report(context, folder, part, summary)
    return labelled.take(np.flatnonzero(~dropped_r))


def _learnable(
    context: RunContext,
    documents: Documents,
    positions: npt.NDArray[np.int64],
    log_odds_rC: npt.NDArray[np.float64],
) -> tuple[LabelledTexts, npt.NDArray[np.bool_]]:
    """Return read documents with targets and weights, and which of them confident learning would leave out."""
    recipe, multilabel = context.recipe, context.recipe.student.multilabel
    settings = recipe.noise
    targets_rC = noise.targets(
        log_odds_rC,
        multilabel=multilabel,
        soft=settings.labels == "soft",
        threshold=recipe.annotation.threshold,
    )
    weights_r = np.ones(len(positions))
    if settings.weights == "confidence":
        weights_r = noise.confidence_weights(log_odds_rC, multilabel=multilabel)
    chosen, dropped_r = documents.take(positions), np.zeros(len(positions), np.bool_)
    texts, ids = Texts.of(chosen), Texts.of(chosen, field="id")
    if settings.drop == "confident_learning":
        labels_r = log_odds_rC.argmax(axis=1).astype(np.int64)
        probs_rC = out_of_sample(context, texts, labels_r)
        dropped_r = noise.flag_mislabelled(labels_r, probs_rC)
    labelled = LabelledTexts(texts, targets_rC.astype(np.float32), weights_r.astype(np.float32), ids)
    return labelled, dropped_r


def out_of_sample(
    context: RunContext, texts: Sequence[str], labels_n: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return class probabilities of each text by a model on the untuned student's vectors that has not seen it."""
    vectors_nD = embed(context, texts)
    return noise.cross_validated(vectors_nD, labels_n, len(context.corpus.labels), context.recipe.seed)


def embed(context: RunContext, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return unit vectors [n, D] of texts by the untuned student, or by the first backbone of a frozen one."""
    student = context.recipe.student
    section = dict(student.encoder)
    if student.tuning == "frozen":
        first = student.backbones[0]
        section |= {"model": first.model, "document_length": first.max_tokens}
    encoder: Encoder = registry.build("encoder", section)
    return encode(context, encoder, texts, "document", "encode texts")


def summarise(
    context: RunContext, documents: Documents, positions: npt.NDArray[np.int64], verdicts: ClassVerdicts
) -> dict[str, Any]:
    """Return counts of a labelling, and the teacher against gold where these documents have any that is open."""
    read_n, names = verdicts.read_n, context.corpus.labels.names
    multilabel = context.recipe.student.multilabel
    chosen_rC = noise.targets(
        verdicts.log_odds_nC[read_n],
        multilabel=multilabel,
        soft=False,
        threshold=context.recipe.annotation.threshold,
    )
    summary: dict[str, Any] = {
        "documents": len(positions),
        "unjudged": int((~verdicts.judged_n).sum()),
        "unread": int((verdicts.judged_n & ~read_n).sum()),
        "stopped_by": verdicts.stopped_by,
        "share": dict(zip(names, np.round(chosen_rC.mean(axis=0), 4).tolist(), strict=True)),
        "prior": np.round(verdicts.prior_mC, 4).tolist(),
        "agreement": float(np.nanmean(verdicts.agreement_n))
        if read_n.any() and verdicts.n_prompts > 1
        else None,
        "asked_as": list(asked_classes(context).names),
    }
    if documents.has_gold and documents.gold_access == "open":
        gold_rC = one_hot(documents.gold.take(positions[read_n]), len(names), multilabel)
        wrong_r = (chosen_rC != gold_rC).any(axis=1)
        summary |= {"accuracy": float(1 - wrong_r.mean()), "wrong_r": wrong_r}
        if not multilabel:
            errors = noise.errors_by_gold(chosen_rC.argmax(axis=1), gold_rC.argmax(axis=1), len(names))
            summary["missed"] = dict(zip(names, np.round(errors.missed, 4).tolist(), strict=True))
    return summary


def _caught(context: RunContext, summary: dict[str, Any], dropped_r: npt.NDArray[np.bool_]) -> float | None:
    """Return the share of the teacher's errors among those left out; None where it is not known."""
    if context.recipe.noise.drop == "none" or "wrong_r" not in summary:
        return None
    wrong_r = summary["wrong_r"]
    return float(dropped_r[wrong_r].mean()) if wrong_r.any() else None


def _report(context: RunContext, folder: RunFolder, part: Part, summary: dict[str, Any]) -> None:
    if not context.ranks.is_first:
        return
    path = folder.path / "labels" / f"{part}.json"
    counters = context.counters
    if path.is_file():  # a resumed run spends nothing on it
        before = read_json(path)
        summary |= {key: before[key] for key in ("judgements", "from_store", "seconds") if key in before}
    else:
        summary |= {
            "judgements": counters.made,
            "from_store": counters.from_store,
            "seconds": counters.usage.seconds,
        }
        folder.log({"event": "labels", "part": part, **summary})
    write_json(path, summary)
    right = f", right on {summary['accuracy']:.1%}" if "accuracy" in summary else ""
    context.console.say(
        f"labels, {part}: {summary['documents']:,} documents, {summary['unread']:,} unread, "
        f"{summary['unjudged']:,} unjudged, {summary['dropped']:,} left out{right}"
    )


def teacher_summary(folder: RunFolder) -> dict[str, Any]:
    """Return what a run's labelling came to, part by part: for the final line of metrics.jsonl.

    Of a run that learned in cycles, counts are summed and the share that was right is weighed by documents.
    """
    paths = {part: folder.path / "labels" / f"{part}.json" for part in PARTS}
    found: dict[str, Any] = {part: read_json(path) for part, path in paths.items() if path.is_file()}
    cycles = [read_json(path) for path in sorted(folder.path.glob("cycles/*/labels/train.json"))]
    if not cycles:
        return found
    summed: dict[str, Any] = {
        key: sum(cycle[key] for cycle in cycles) for key in ("documents", "unread", "unjudged", "dropped")
    }
    if all("accuracy" in cycle for cycle in cycles):
        right = sum(cycle["accuracy"] * cycle["documents"] for cycle in cycles)
        summed["accuracy"] = right / max(1, summed["documents"])
    return {"train": summed}
