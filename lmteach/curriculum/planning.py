"""What a recipe would ask of its teachers, before anything is spent: documents, candidates, what is there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach import registry
from lmteach.corpus.catalog import CATALOG
from lmteach.corpus.splits import draw_split
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.feature_planning import Pass, plan_passes
from lmteach.curriculum.judging import judgements_of
from lmteach.curriculum.known import Known, build_parts, open_store
from lmteach.curriculum.protocol import CycleState
from lmteach.recipe.check import check_label_count, check_recipe
from lmteach.recipe.schema import Recipe
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.planning import TeacherPart, teacher_parts
from lmteach.tracking.console import Console
from lmteach.types import Judgement

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus

MADE_UP_TOKENS = 430  # of a document, where the texts are missing and the teacher names no cut


@dataclass(frozen=True)
class Sizes:
    """How much text there is. `missing` says which files lack, where the numbers are the catalogue's."""

    name: str
    train: int
    dev: int
    test: int
    labels: int
    missing: str = ""
    extra: int = 0


@dataclass(frozen=True)
class Stage:
    """One labelling of a run: documents asked about, and pairs that teachers judge for them.

    Attributes:
        cycle, split: which; `split` is train, dev or extra.
        n_documents: documents asked about.
        n_pairs: their candidates, each counted for every teacher that judges it.
        n_to_make: those that neither the store nor the run's folder answers.
        n_documents_to_read: documents with such a pair.
        exact: whether the last two are known, or only bounds from above.
    """

    cycle: int
    split: str
    n_documents: int
    n_pairs: int
    n_to_make: int
    n_documents_to_read: int
    exact: bool


@dataclass
class Groundwork:
    """What a plan stands on.

    Attributes:
        corpus: None where the texts are missing.
        parts: the teachers that judge.
        stages: every labelling of every cycle there may be.
        sample: judgements to count tokens on.
        notes: what could not be found out, in sentences.
        shortlist: of the first cycle, where it is known.
        passes: what frozen backbones would have to read.
    """

    recipe: Recipe
    sizes: Sizes
    corpus: Corpus | None
    parts: list[TeacherPart]
    stages: list[Stage] = field(default_factory=list)
    sample: list[Judgement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shortlist: Shortlist | None = None
    passes: list[Pass] = field(default_factory=list)


def lay_groundwork(
    recipe: Recipe, console: Console, *, with_shortlist: bool = False, n_sample: int = 50
) -> Groundwork:
    """Find out what a recipe would ask of its teachers, and what its frozen backbones would have to read.

    Args:
        with_shortlist: encode with the untuned student, so that the first cycle's pairs are known and looked up.
        n_sample: documents to count tokens on.

    Raises:
        CorpusError: the corpus cannot be read; only a set of the catalogue may be missing.
        RecipeError: the recipe contradicts itself, does not fit the corpus, or names no such teacher.
    """
    check_recipe(recipe)
    sizes, corpus = measure_corpus(recipe)
    check_label_count(recipe, sizes.labels)
    if recipe.student.kind == "classifier" and recipe.supervision == "gold":
        notes = ["The labels are gold: no teacher is asked."]
        passes = plan_passes(recipe, sizes, corpus, n_sample)
        return Groundwork(recipe, sizes, corpus, [], notes=notes, passes=passes)
    if recipe.student.kind == "classifier":
        return _lay_for_classes(recipe, sizes, corpus, console, n_sample)
    parts = [part for part in teacher_parts(recipe.teacher) if part.judges]
    work = Groundwork(recipe, sizes, corpus, parts)
    if corpus is None and with_shortlist:
        work.notes.append("Without the texts there is no shortlist.")
    store, store_known = open_store(recipe, work.notes)
    try:
        context = None if corpus is None else RunContext(recipe, corpus, console, store)
        built = build_parts(parts, context, work.notes)
        known = Known(recipe, context, built, store_known, with_shortlist, notes=work.notes)
        work.stages = list_stages(work, known)
        work.shortlist = known.shortlist
    finally:
        if store is not None:
            store.close()
    work.sample = draw_sample(work, n_sample)
    return work


def _lay_for_classes(
    recipe: Recipe, sizes: Sizes, corpus: Corpus | None, console: Console, n_sample: int
) -> Groundwork:
    from lmteach.curriculum.class_planning import class_parts, class_sample, class_stages

    work = Groundwork(recipe, sizes, corpus, class_parts(recipe))
    store, store_known = open_store(recipe, work.notes)
    try:
        context = None if corpus is None else RunContext(recipe, corpus, console, store)
        built = build_parts(work.parts, context, work.notes)
        look = store is not None and store_known and built is not None
        work.stages = class_stages(work, context, look=look, empty=store is None and store_known)
    finally:
        if store is not None:
            store.close()
    work.sample = class_sample(work, n_sample)
    work.passes = plan_passes(recipe, sizes, corpus, n_sample)
    return work


def planned_positions(work: Groundwork) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield each cycle's number and the positions of the training documents that its curriculum selects."""
    curriculum = registry.build("curriculum", work.recipe.curriculum)
    before: list[npt.NDArray[np.int64]] = []
    for cycle in range(curriculum.max_cycles):
        labelled = np.sort(np.concatenate([np.zeros(0, np.int64), *before]))
        chosen = curriculum.select(CycleState(cycle, work.sizes.train, work.recipe.seed, labelled))
        before.append(chosen)
        yield cycle, chosen


def measure_corpus(recipe: Recipe) -> tuple[Sizes, Corpus | None]:
    """Return a corpus and its sizes; for a known set whose files are missing the catalogue's sizes alone."""
    section = recipe.corpus
    known = CATALOG.get(section.name)
    if known is None or section.path or not known.layouts or known.found(known.folder()):
        from lmteach.corpus.load import load_corpus

        corpus = load_corpus(section, recipe.seed, Path.cwd())
        n_test = 0 if corpus.test is None else len(corpus.test)
        n_dev = 0 if corpus.dev is None else len(corpus.dev)
        n_extra = 0 if corpus.extra is None else len(corpus.extra)
        return Sizes(corpus.name, len(corpus.train), n_dev, n_test, len(corpus.labels), "", n_extra), corpus
    missing = str(known.missing_error(known.folder()))
    assert known.n_labels is not None
    if "train" not in known.counts:  # the catalogue does not know how many there are
        return Sizes(known.name, 0, 0, 0, known.n_labels, missing), None
    split = draw_split(known.counts["train"], section.n_train, section.n_dev, recipe.seed)
    there = known.counts[section.test]
    n_test = min(there, section.n_test or there)
    n_extra = known.counts.get("extra", 0) if section.n_extra is None else section.n_extra
    sizes = (len(split.train), len(split.dev), n_test, known.n_labels)
    return Sizes(known.name, *sizes, missing, n_extra), None


def list_stages(work: Groundwork, known: Known) -> list[Stage]:
    """Return every labelling that the recipe's curriculum may ask for, in order."""
    recipe, sizes, stages = work.recipe, work.sizes, []
    curriculum = registry.build("curriculum", recipe.curriculum)
    dev = np.arange(sizes.dev, dtype=np.int64)
    for cycle in range(curriculum.max_cycles):
        train = curriculum.select(CycleState(cycle, sizes.train, recipe.seed))
        for split, positions, k in (
            ("train", train, recipe.search.n_judged),
            ("dev", dev, recipe.dev.n_judged),
        ):
            missing = known.missing(cycle, split, positions, k, len(work.parts))
            n_pairs = len(positions) * k * len(work.parts)
            stages.append(
                Stage(
                    cycle, split, len(positions), n_pairs, missing.n_pairs, missing.n_documents, missing.exact
                )
            )
    return stages


def draw_sample(work: Groundwork, n: int) -> list[Judgement]:
    """Return judgements like those the run will make; one made up, of full length, where texts are missing."""
    if work.corpus is None:
        candidates = tuple(f"a label {i}" for i in range(work.recipe.search.n_judged))
        return [Judgement("word " * made_up_length(work.parts), candidates)]
    context = RunContext(work.recipe, work.corpus, Console(quiet=True))
    rng = np.random.default_rng([work.recipe.seed, *b"plan"])
    k = work.recipe.search.n_judged
    shortlist = work.shortlist or _random_shortlist(work, rng, n)
    found = judgements_of(context, work.corpus.train, shortlist, k)
    return [found[int(row)] for row in rng.permutation(len(shortlist))[:n]]


def made_up_length(parts: Sequence[TeacherPart]) -> int:
    """Return the tokens at which the teachers cut a document: what is assumed where texts are missing."""
    return max((part.document_cut or MADE_UP_TOKENS for part in parts), default=MADE_UP_TOKENS)


def _random_shortlist(work: Groundwork, rng: np.random.Generator, n: int) -> Shortlist:
    positions: npt.NDArray[np.int64] = rng.permutation(work.sizes.train)[:n]
    k = work.recipe.search.n_judged
    ids = np.stack([rng.choice(work.sizes.labels, size=k, replace=False) for _ in positions])
    return Shortlist(positions, ids.astype(np.int32), np.zeros(ids.shape, np.float32))
