"""An audit of a teacher that chose classes: its errors with and without gold, where they lie, what to look at.

Shape legend: n documents that were read, C classes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.corpus.texts import Texts
from lmteach.curriculum.class_teacher import ask_classes
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.labelled import one_hot
from lmteach.curriculum.teacher_labels import PARTS, out_of_sample
from lmteach.errors import LmteachError, PluginError, RecipeError, RunError
from lmteach.teaching import noise
from lmteach.teaching.calibration import wilson_lower
from lmteach.teaching.class_verdicts import ClassVerdicts
from lmteach.teaching.noise import ClassErrors

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.recipe.schema import Recipe
    from lmteach.tracking.console import Console

Z95 = 1.959963984540054
N_LENGTHS = 4  # slices by length
MOST_SOURCES = 12


@dataclass(frozen=True)
class Slice:
    """The teacher on some of the documents; `accuracy` with its 95% interval is None without gold.

    `agreement` of the prompts is None where there is one.
    """

    by: str
    name: str
    n_documents: int
    said: dict[str, float]
    agreement: float | None
    margin: float
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Doubt:
    """A document whose label is worth a human's look: what was said, what speaks against it, how strongly."""

    document_id: str
    text: str
    said: str
    instead: str
    confidence: float
    why: str


@dataclass(frozen=True)
class ClassAudit:
    """What an audit found; `by_gold` and `estimated` are None where they could not be had, and `notes` say why.

    `agreement` of the prompts is None where there is one.
    """

    source: str
    teacher: str
    names: tuple[str, ...]
    n_documents: int
    n_unread: int
    n_unjudged: int
    agreement: float | None
    by_gold: ClassErrors | None
    estimated: ClassErrors | None
    slices: list[Slice]
    doubts: list[Doubt]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        found = asdict(self)
        for key, errors in (("by_gold", self.by_gold), ("estimated", self.estimated)):
            if errors is not None:
                found[key] = {
                    "by": errors.by,
                    "documents": errors.n_documents,
                    "rate": errors.rate,
                    "joint": errors.joint_CC.tolist(),
                    "missed": dict(zip(self.names, errors.missed.tolist(), strict=True)),
                    "misapplied": dict(zip(self.names, errors.misapplied.tolist(), strict=True)),
                }
        return found


@dataclass(frozen=True)
class ClassesAudited:
    """The verdicts that are looked at, and the documents they are about."""

    context: RunContext
    documents: Documents
    positions: npt.NDArray[np.int64]
    verdicts: ClassVerdicts
    source: str


def audited_run(path: Path, recipe: Recipe, console: Console) -> ClassesAudited:
    """Return the verdicts of a classifier's run: on training documents, else on extra ones.

    Raises:
        RunError: it has none.
    """
    context = open_context(recipe, console)
    for part in PARTS:
        file = path / "labels" / f"{part}.npz"
        if file.is_file():
            documents = context.corpus.train if part == "train" else context.corpus.extra
            assert documents is not None
            n = len(documents)
            positions = context.first_positions() if part == "train" else np.arange(n, dtype=np.int64)
            verdicts = ClassVerdicts.load(file)
            return ClassesAudited(context, documents, positions, verdicts, f"{path}, {part} documents")
    raise RunError("No teacher labelled anything in this run.", where=str(path))


def audited_recipe(context: RunContext, n_documents: int) -> ClassesAudited:
    """Have a recipe's teacher label some training documents now."""
    documents = context.corpus.train
    rng = np.random.default_rng([context.recipe.seed, *b"audit"])
    positions = np.sort(rng.permutation(len(documents))[:n_documents]).astype(np.int64)
    with tempfile.TemporaryDirectory() as scratch:
        verdicts = ask_classes(context, documents, positions, Path(scratch, "audit.npz"))
    return ClassesAudited(context, documents, positions, verdicts, f"recipe {context.recipe.name}")


def audit_classes(audited: ClassesAudited, *, n_doubts: int = 20) -> ClassAudit:
    """Look at a teacher's classes.

    Raises:
        RecipeError: several classes may apply to a document.
        RunError: nothing was read.
    """
    context, verdicts = audited.context, audited.verdicts
    if context.recipe.student.multilabel:
        raise RecipeError("An audit of classes takes one class a document.", where="student.multilabel")
    read = verdicts.read_n
    if not read.any():
        raise RunError("The teacher's answers could not be read; there is nothing to audit.")
    names, notes = context.corpus.labels.names, list[str]()
    chosen = audited.documents.take(audited.positions[read])
    texts = Texts.of(chosen)
    log_probs_nC = verdicts.log_odds_nC[read]
    said_n = log_probs_nC.argmax(axis=1).astype(np.int64)
    gold_n = None
    if chosen.has_gold and chosen.gold_access == "open":
        gold_n = one_hot(chosen.gold, len(names), multilabel=False).argmax(axis=1).astype(np.int64)
    probs_nC, estimated = _estimate(context, texts, said_n, notes)
    agreement_n = verdicts.agreement_n[read] if verdicts.n_prompts > 1 else None
    looked = _Looked(chosen, texts, said_n, gold_n, np.sort(np.exp(log_probs_nC)), agreement_n, names)
    return ClassAudit(
        source=audited.source,
        teacher=str(context.recipe.teacher.get("name", "")),
        names=names,
        n_documents=len(read),
        n_unread=int((verdicts.judged_n & ~read).sum()),
        n_unjudged=int((~verdicts.judged_n).sum()),
        agreement=None if agreement_n is None else float(agreement_n.mean()),
        by_gold=None if gold_n is None else noise.errors_by_gold(said_n, gold_n, len(names)),
        estimated=estimated,
        slices=list(_slices(looked)),
        doubts=_doubts(looked, probs_nC)[:n_doubts],
        notes=notes,
    )


@dataclass(frozen=True)
class _Looked:
    """n read documents side by side with what was said of them; `ordered_nC` are ascending probabilities."""

    documents: Documents
    texts: Sequence[str]
    said_n: npt.NDArray[np.int64]
    gold_n: npt.NDArray[np.int64] | None
    ordered_nC: npt.NDArray[np.float64]
    agreement_n: npt.NDArray[np.float64] | None
    names: Sequence[str]


def _estimate(
    context: RunContext, texts: Sequence[str], said_n: npt.NDArray[np.int64], notes: list[str]
) -> tuple[npt.NDArray[np.float64] | None, ClassErrors | None]:
    """Return out-of-sample probabilities of the teacher's classes and its errors estimated from them."""
    try:
        probs_nC = out_of_sample(context, texts, said_n)
        return probs_nC, noise.errors_without_gold(said_n, probs_nC)
    except PluginError as error:
        notes.append(f"Errors are not estimated without gold: {error.what} {error.mend or ''}".strip())
    except LmteachError as error:
        notes.append(f"Errors are not estimated without gold: {error.what}")
    return None, None


def _slices(looked: _Looked) -> Iterator[Slice]:
    """Yield the slices by length, by source and, where there is gold, by true class."""
    lengths_n = np.array([len(text) for text in looked.texts])
    bounds = np.unique(np.quantile(lengths_n, np.linspace(0, 1, N_LENGTHS + 1)))
    for low, high in itertools.pairwise(bounds):
        inside = (lengths_n >= low) & ((lengths_n < high) | (high == bounds[-1]))
        yield _slice(looked, "length", f"{low:,.0f} to {high:,.0f} characters", inside)
    sources = np.array([_source(id_) for id_ in looked.documents.ids])
    found, source_n, counts = np.unique(sources, return_inverse=True, return_counts=True)
    if len(found) > 1 and not _same_parts(source_n, looked.gold_n):
        for i in np.argsort(-counts, kind="stable")[:MOST_SOURCES]:
            yield _slice(looked, "source", str(found[i]), sources == found[i])
    if looked.gold_n is not None:
        for i, name in enumerate(looked.names):
            yield _slice(looked, "class", name, looked.gold_n == i)


def _same_parts(first_n: npt.NDArray[np.int64], second_n: npt.NDArray[np.int64] | None) -> bool:
    """Tell whether two numberings divide the documents alike, as IMDb's folders and its classes do."""
    if second_n is None:
        return False
    n_pairs = len(np.unique(np.stack([first_n, second_n]), axis=1)[0])
    return n_pairs == len(np.unique(first_n)) == len(np.unique(second_n))


def _source(document_id: str) -> str:
    """Return where a document comes from, as far as its id tells: what stands before the last slash."""
    return document_id.rpartition("/")[0]


def _slice(looked: _Looked, by: str, name: str, inside: npt.NDArray[np.bool_]) -> Slice:
    n, said = int(inside.sum()), looked.said_n[inside]
    if not n:
        return Slice(by, name, 0, {}, None, float("nan"))
    shares = np.bincount(said, minlength=len(looked.names)) / n
    margin_n = looked.ordered_nC[inside, -1] - looked.ordered_nC[inside, -2]
    facts: dict[str, Any] = {}
    if looked.gold_n is not None:
        n_right = int((said == looked.gold_n[inside]).sum())
        facts = {
            "accuracy": n_right / n,
            "low": float(wilson_lower(n_right, n, Z95)),
            "high": 1 - float(wilson_lower(n - n_right, n, Z95)),
        }
    return Slice(
        by,
        name,
        n,
        dict(zip(looked.names, np.round(shares, 4).tolist(), strict=True)),
        None if looked.agreement_n is None else float(looked.agreement_n[inside].mean()),
        float(margin_n.mean()),
        **facts,
    )


def _doubts(looked: _Looked, probs_nC: npt.NDArray[np.float64] | None) -> list[Doubt]:
    """Return documents whose label is contradicted, the surest contradiction first.

    Gold contradicts where there is any; else the prediction of a model that has not seen the document.
    """
    n, said_n = len(looked.texts), looked.said_n
    if looked.gold_n is not None:
        strength_n = np.where(looked.gold_n != said_n, looked.ordered_nC[:, -1], -1.0)
        instead_n, why = looked.gold_n, "gold says otherwise"
    elif probs_nC is not None:
        instead_n, why = probs_nC.argmax(axis=1), "documents like it are labelled otherwise"
        strength_n = probs_nC.max(axis=1) - probs_nC[np.arange(n), said_n]
        strength_n[instead_n == said_n] = -1.0
    else:
        return []
    ids = looked.documents.ids
    order = np.argsort(-strength_n, kind="stable")
    return [
        Doubt(
            document_id=ids[int(i)],
            text=looked.texts[i],
            said=looked.names[said_n[i]],
            instead=looked.names[instead_n[i]],
            confidence=float(looked.ordered_nC[i, -1]),
            why=why,
        )
        for i in order[: int((strength_n >= 0).sum())]
    ]
