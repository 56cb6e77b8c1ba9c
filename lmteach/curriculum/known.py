"""What of a run's labelling is done or paid for already: its folder and the store, looked into without writing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import judgements_of
from lmteach.curriculum.shortlisting import build_index, find_candidates
from lmteach.errors import LmteachError, RecipeError, StoreError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.planning import TeacherPart
from lmteach.teaching.protocol import Teacher
from lmteach.teaching.store import Store

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.students.protocol import Encoder

Positions = npt.NDArray[np.int64]

DOCUMENTS_A_LOOK = 1024  # looked up in the store at a time
# Of a recipe's keys these decide no judgement,
FREE_KEYS = ("name", "budget", "run", "trainer", "evaluation", "tracking")
# these the first cycle's shortlist,
SHORTLIST_KEYS = ("corpus", "seed", "student", "search")
# and these too where the student is warmed up first.
WARMUP_KEYS = ("warmup", "training", "loss")


NO_WARM_STUDENT = (
    "The first shortlist comes from the warmed-up student, which is not there before `lmteach annotate` or "
    "`lmteach fit` has begun."
)


@dataclass(frozen=True)
class Missing:
    """Pairs that teachers have yet to judge, the documents they belong to, and whether that is known or a bound."""

    n_pairs: int
    n_documents: int
    exact: bool


def open_store(recipe: Recipe, notes: list[str]) -> tuple[Store | None, bool]:
    """Return the recipe's store if there is one, and whether it is known what is in it."""
    place = recipe.run.store
    if "://" not in place and not Path(place).expanduser().exists():
        notes.append(f"There is no store at {place} yet, so nothing can be taken from it.")
        return None, True
    try:
        return Store.open(place, create=False), True
    except StoreError as error:
        notes.append(f"The store could not be looked into: {error}")
        return None, False


@dataclass
class Known:
    """Looks up what of each labelling is there.

    Attributes:
        context: the recipe at work; None where its texts are missing.
        parts: the teachers that judge, built, or None where they cannot be built here.
        with_shortlist: make the first cycle's shortlist where no run folder has it.
        shortlist: of the first cycle's training documents, once it is known.
        notes: what could not be found out is added here.
    """

    recipe: Recipe
    context: RunContext | None
    parts: Sequence[Teacher] | None
    store_known: bool = True
    with_shortlist: bool = False
    shortlist: Shortlist | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folders, self.verdicts_count = find_cycles(self.recipe)
        self.n_stored = self._n_stored()

    def missing(self, cycle: int, split: str, positions: Positions, k: int, n_parts: int) -> Missing:
        """Return what is missing of the judgements of one labelling.

        Args:
            split: `train` or `dev`.
            positions: of the documents.
            k: candidates of each.
            n_parts: teachers that judge each pair.
        """
        at_most = len(positions) * k * n_parts
        bound = Missing(at_most, len(positions) if at_most else 0, exact=not at_most)
        folder, prefix = self.folders.get(cycle), "dev_" if split == "dev" else ""
        if folder is not None and self.verdicts_count and (folder / f"{prefix}verdicts.npz").is_file():
            return Missing(0, 0, exact=True)
        shortlist = self._shortlist(cycle, split, positions, folder)
        if self.n_stored == 0 and (cycle, split) == (0, "train"):
            return dataclasses.replace(bound, exact=True)
        if shortlist is None or not self.n_stored or self.context is None:
            return bound
        corpus = self.context.corpus
        documents = corpus.train if split == "train" else corpus.dev
        assert documents is not None
        with self.context.teacher() as teacher:
            return count_missing(self.context, teacher, documents, shortlist, k)

    def _shortlist(
        self, cycle: int, split: str, positions: Positions, folder: Path | None
    ) -> Shortlist | None:
        name = "shortlist.npz" if split == "train" else "dev_shortlist.npz"
        first = (cycle, split) == (0, "train")
        found = None
        if folder is not None and (folder / name).is_file():
            kept = Shortlist.load(folder / name)
            found = kept if np.array_equal(kept.positions_q, positions) else None
        if found is None and first and self.with_shortlist and self.context is not None:
            encoder = first_encoder(self.context)
            if encoder is None:
                self.notes.append(NO_WARM_STUDENT)
                return None
            index = build_index(self.context, encoder)
            found = find_candidates(self.context, encoder, index, self.context.corpus.train, positions)
        if first:
            self.shortlist = found
        return found

    def _n_stored(self) -> int | None:
        """Return how many verdicts of these teachers the store holds; None where that cannot be told."""
        store = None if self.context is None else self.context.store
        if not self.store_known:
            return None
        held = {stats.identity: stats.verdicts for stats in store.stats()} if store is not None else {}
        if not held:
            return 0
        if self.parts is None:
            return None
        try:
            return sum(held.get(teacher.identity, 0) for teacher in self.parts)
        except RecipeError:
            raise
        except LmteachError as error:
            self.notes.append(f"Whether the store holds verdicts of this teacher is not known. {error}")
            return None


def count_missing(
    context: RunContext, teacher: Teacher, documents: Documents, shortlist: Shortlist, k: int
) -> Missing:
    """Count what the store lacks of a shortlist's first k labels."""
    judgements = judgements_of(context, documents, shortlist, k)
    n_missing: list[int] = []
    for start in range(0, len(judgements), DOCUMENTS_A_LOOK):
        n_missing += teacher.n_missing(judgements[start : start + DOCUMENTS_A_LOOK])  # type: ignore[attr-defined]
    return Missing(sum(n_missing), sum(n > 0 for n in n_missing), exact=True)


def first_encoder(context: RunContext) -> Encoder | None:
    """Return the student that makes the first shortlist; None where it must be warmed up and is not yet."""
    if not context.recipe.warmup.teacher:
        return context.new_encoder()
    warmed = run_path(context.recipe) / "warmup" / "student"
    return context.new_encoder(warmed) if warmed.is_dir() else None


def run_path(recipe: Recipe) -> Path:
    """Return the folder that the recipe's run writes to."""
    return Path(recipe.run.folder or f"runs/{recipe.name}")


def build_parts(
    parts: Sequence[TeacherPart], context: RunContext | None, notes: list[str]
) -> list[Teacher] | None:
    """Build teachers to ask for their identities; None, with a note, where one cannot be built here."""
    if context is None:
        return None
    try:
        return [part.cls(part.config, context.teacher_resources()) for part in parts]
    except RecipeError:
        raise
    except LmteachError as error:
        notes.append(f"The teacher cannot run here. {error}")
        return None


def find_cycles(recipe: Recipe) -> tuple[dict[int, Path], bool]:
    """Return the cycle folders of the recipe's run whose shortlists the recipe would make just so.

    Returns:
        folders by cycle, and whether their verdicts are what the recipe's teacher would be asked for.
    """
    folder = run_path(recipe)
    if not (folder / "recipe.yaml").is_file():
        return {}, False
    try:
        begun = load_recipe(str(folder / "recipe.yaml")).recipe
    except LmteachError:
        return {}, False
    mine, theirs = dataclasses.asdict(recipe), dataclasses.asdict(begun)
    different = {key for key in _decisive(mine) if mine[key] != theirs[key]}
    cycles = {int(path.name): path for path in sorted((folder / "cycles").glob("[0-9][0-9]"))}
    if not different:
        return cycles, True
    if different.isdisjoint((*SHORTLIST_KEYS, *(WARMUP_KEYS if recipe.warmup.teacher else ()))):
        return {0: cycles[0]} if 0 in cycles else {}, False
    return {}, False


def _decisive(recipe: Mapping[str, object]) -> list[str]:
    return [key for key in recipe if key not in FREE_KEYS]
