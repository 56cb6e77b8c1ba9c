"""`fit --from RUN`: a finished run's student learns labels that were added to it since.

Only documents whose shortlist now holds a new label are judged; the student goes on from where it is. It trains on
them and on as many documents of the run before, with the positives that those were given then, so that it does not
forget: they cost no judgement. Shape legend: n documents, k labels of each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.corpus.corpus import Corpus, LabelSet
from lmteach.curriculum.beginning import begin_run
from lmteach.curriculum.claim import claimed_folder
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.cycles import Attempt, end_cycle, fingerprints_of, finished, keep_student
from lmteach.curriculum.earlier import EarlierLabels, read_earlier
from lmteach.curriculum.finish import finish_run
from lmteach.curriculum.labelling import make_pseudo_labels
from lmteach.curriculum.open_run import read_run
from lmteach.curriculum.shortlisting import build_index, find_candidates
from lmteach.curriculum.tracked import track_final, tracking
from lmteach.curriculum.training import train_student
from lmteach.errors import RunError
from lmteach.recipe.check import check_recipe
from lmteach.recipe.load import load_recipe
from lmteach.search.shortlist import Shortlist
from lmteach.students.label_set import LabelVectors, load_label_set, read_label_set
from lmteach.teaching.store import Store
from lmteach.tracking.run_folder import RunFolder, write_whole

if TYPE_CHECKING:
    from lmteach.curriculum.datamodule import PseudoLabels
    from lmteach.recipe.schema import Recipe
    from lmteach.tracking.console import Console


@dataclass(frozen=True)
class Refresh:
    """What a refresh begins with.

    Attributes:
        source: the run it goes on from.
        labels: the label set in force there, which the refreshed student will serve.
        new: names of the labels that its student was not trained with.
    """

    source: RunFolder
    labels: LabelVectors
    new: frozenset[str]


def refresh(run: Path, overrides: Sequence[str], console: Console, *, resume: bool = False) -> dict[str, Any]:
    """Teach a run's student the labels that were added to it; return the final line of the new run.

    Args:
        run: the finished run. The new one lies beside it as `RUN-refreshed`, unless run.folder says otherwise.
        overrides: of its recipe. A corpus with gold for the new labels may take the place of its own.

    Raises:
        RunError: no label was added, or no document's shortlist holds one.
    """
    source, before = read_run(run)
    if before.student.kind == "classifier":
        raise RunError("Only a tagger's labels can be added to.", where=str(run))
    start = _open_source(source)
    recipe = load_recipe(str(source.recipe), overrides).recipe
    if recipe.run.folder == before.run.folder:
        recipe.run.folder = f"{run}-refreshed"
    recipe.name = f"{recipe.name}_refreshed" if recipe.name == before.name else recipe.name
    recipe.warmup.teacher = {}
    recipe.trainer.devices = recipe.trainer.num_nodes = 1  # a few documents: not worth several processes
    check_recipe(recipe)
    with claimed_folder(recipe, resume=resume) as folder:
        return finished(recipe, folder, console) or _run(start, recipe, before, folder, console)


def _open_source(source: RunFolder) -> Refresh:
    student = source.trained_student()
    labels, trained = load_label_set(student), set(read_label_set(student).names)
    new = frozenset(labels.names) - trained
    if not new:
        raise RunError(
            "No label was added to this run's student, so there is nothing new to teach it.",
            where=str(source.path),
            mend=f"Add some: lmteach labels add {source.path} labels.txt",
        )
    return Refresh(source, labels, new)


def _run(
    start: Refresh, recipe: Recipe, before: Recipe, folder: RunFolder, console: Console
) -> dict[str, Any]:
    started = time.monotonic()
    with (
        Store.open(recipe.run.store, run=recipe.name) as store,
        tracking(recipe, folder, console.say) as trackers,
    ):
        context = open_context(recipe, console, store=store)
        context.corpus = with_labels(context.corpus, start.labels)
        context.trackers = trackers
        begin_run(context, folder, lambda c: {**fingerprints_of(c), "refreshed_from": str(start.source.path)})
        _cycle(context, start, before, folder)
        served = LabelSet(tuple(start.labels.names), tuple(start.labels.texts))
        keep_student(context, folder.cycle(0) / "student", folder, served)
        seconds = time.monotonic() - started
        final = finish_run(context, folder, 1, 0, seconds, {"before": start.source.student})
        track_final(context, folder, final)
        return final


def with_labels(corpus: Corpus, labels: LabelVectors) -> Corpus:
    """Return the corpus with labels it does not know yet behind its own, whose ids stay."""
    known = set(corpus.labels.names)
    added = [i for i, name in enumerate(labels.names) if name not in known]
    names = (*corpus.labels.names, *(labels.names[i] for i in added))
    texts = (*corpus.labels.texts, *(labels.texts[i] for i in added))
    parts = [corpus.fingerprint, *names[len(known) :], *texts[len(known) :]]
    fingerprint = hashlib.sha256("\n".join(f"{len(p)}:{p}" for p in parts).encode()).hexdigest()
    return dataclasses.replace(
        corpus, labels=LabelSet(names, texts), fingerprint=fingerprint if added else corpus.fingerprint
    )


def _cycle(context: RunContext, start: Refresh, before: Recipe, run: RunFolder) -> None:
    """Shortlist, judge, train and mark; what is done already is not done again."""
    folder = run.cycle(0)
    if (folder / "cycle.json").is_file():
        return
    attempt = Attempt(time.monotonic(), context.counters.copy(), {})
    if (folder / "student").is_dir():
        end_cycle(context, run, 0, context.new_encoder(folder / "student"), attempt)
        return
    shortlist = _affected(context, start, folder / "shortlist.npz")
    earlier = read_earlier(start.source, before, context)
    student = context.new_encoder(start.source.student)

    def label() -> PseudoLabels:
        made = make_pseudo_labels(context, student, shortlist.positions_q, folder)
        return _with_earlier(context, made, shortlist, earlier)

    trained = train_student(
        student,
        label,
        context.recipe,
        context.console,
        seed=context.recipe.seed,
        loggers=context.trackers.training_loggers("refresh"),
    )
    student.to("cpu")  # type: ignore[attr-defined]
    write_whole(folder / "student", student.save)
    end_cycle(context, run, 0, student, dataclasses.replace(attempt, trained=trained))


def _affected(context: RunContext, start: Refresh, path: Path) -> Shortlist:
    """Return the shortlists of the training documents that now hold a new label among those to be judged."""
    if path.is_file():
        return Shortlist.load(path)
    documents = context.corpus.train
    encoder = context.new_encoder(start.source.student)
    positions = np.arange(len(documents), dtype=np.int64)
    whole = find_candidates(context, encoder, build_index(context, encoder), documents, positions)
    names = context.corpus.labels.names
    served = set(start.labels.names)
    whole = without_labels(whole, np.asarray([name not in served for name in names]))
    new = np.asarray([name in start.new for name in names])
    judged_nk = whole.label_ids_qk[:, : context.recipe.search.n_judged]
    rows = np.flatnonzero((new[judged_nk] & (judged_nk >= 0)).any(axis=1))
    context.console.say(
        f"refresh: {len(start.new):,} new labels; the shortlist of {len(rows):,} of {len(whole):,} documents holds one"
    )
    if not len(rows):
        raise RunError(
            "No document's shortlist holds a new label, so there is nothing to judge.",
            where=str(start.source.path),
            mend="Raise search.n_judged, or add documents that the new labels are about.",
        )
    found = Shortlist(whole.positions_q[rows], whole.label_ids_qk[rows], whole.scores_qk[rows])
    found.save(path)
    return found


def without_labels(shortlist: Shortlist, gone_l: npt.NDArray[np.bool_]) -> Shortlist:
    """Take labels out of a shortlist, the others moving up."""
    ids_nk, scores_nk = shortlist.label_ids_qk, shortlist.scores_qk
    empty_nk = (ids_nk < 0) | gone_l[ids_nk]
    order_nk = np.argsort(empty_nk, axis=1, kind="stable")
    ids_nk = np.where(empty_nk, -1, ids_nk)
    scores_nk = np.where(empty_nk, np.float32(-np.inf), scores_nk)
    return Shortlist(
        shortlist.positions_q,
        np.take_along_axis(ids_nk, order_nk, 1).astype(np.int32),
        np.take_along_axis(scores_nk, order_nk, 1),
    )


def _with_earlier(
    context: RunContext, made: PseudoLabels, shortlist: Shortlist, earlier: EarlierLabels | None
) -> PseudoLabels:
    """Add as many documents of the run before as were judged now, with what they were given then."""
    if earlier is None:
        context.console.say(
            "refresh: the run's own documents are not to be had; only new ones are trained on"
        )
        return made
    ids = context.corpus.train.ids
    judged = {ids[int(position)] for position in shortlist.positions_q}
    texts, yes = earlier.sample(len(made.texts), without=judged, seed=context.recipe.seed)
    context.console.say(f"refresh: {len(made.texts):,} documents judged anew, {len(texts):,} from before")
    return dataclasses.replace(made, texts=[*made.texts, *texts], yes=[*made.yes, *yes])
