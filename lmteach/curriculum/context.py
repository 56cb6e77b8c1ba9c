"""What the stages of a run share: the recipe's parts, built on demand, and where they write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach import registry
from lmteach.curriculum.protocol import Curriculum, CycleState, Positions
from lmteach.curriculum.ranks import Ranks
from lmteach.errors import RecipeError, RunError
from lmteach.machine import choose_precision, device_name
from lmteach.recipe.schema import Recipe
from lmteach.teaching.cost import Budget, Counters, Meter
from lmteach.teaching.energy import EnergyMeter
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.teaching.stored_teacher import StoredTeacher
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import write_json
from lmteach.tracking.trackers import Trackers

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Corpus
    from lmteach.search.protocol import Searcher
    from lmteach.students.protocol import Encoder
    from lmteach.teaching.store import Store


@dataclass
class RunContext:
    """A recipe at work. Nothing heavy is built before it is asked for.

    `store` None = verdicts are not kept. `spent_path` None = what labelling spent is not kept.
    """

    recipe: Recipe
    corpus: Corpus
    console: Console
    store: Store | None = None
    counters: Counters = field(default_factory=Counters)
    budget: Budget = field(default_factory=Budget)
    spent_path: Path | None = None
    trackers: Trackers = field(default_factory=Trackers)
    ranks: Ranks = field(default_factory=Ranks)

    def save_spent(self) -> None:
        """Keep what was spent so far, so that a killed run's caps still hold when it is resumed."""
        if self.spent_path is not None and self.ranks.is_first:
            write_json(self.spent_path, self.budget.spent.as_dict())

    @property
    def device(self) -> str:
        """The torch device of encoder and search."""
        return device_name(self.recipe.trainer.accelerator)

    def new_encoder(self, folder: Path | None = None) -> Encoder:
        """Build the student's encoder, pretrained or from a folder that its `save` wrote."""
        section = dict(self.recipe.student.encoder)
        if folder is not None:
            section["model"] = str(folder)
        encoder: Encoder = registry.build("encoder", section)
        return encoder

    def new_searcher(self) -> Searcher:
        """Build an empty searcher."""
        searcher: Searcher = registry.build("searcher", self.recipe.search.searcher)
        return searcher

    def first_positions(self) -> Positions:
        """Return the training documents that the curriculum takes first."""
        curriculum: Curriculum = registry.build("curriculum", self.recipe.curriculum)
        return curriculum.select(CycleState(0, len(self.corpus.train), self.recipe.seed))

    def need_test_gold(self) -> None:
        """Raise a RunError unless the corpus has test documents with gold."""
        if self.corpus.test is None or not self.corpus.test.has_gold:
            raise RunError("The corpus has no test documents with gold.", where=self.corpus.name)

    def search_precision(self) -> Any:
        """The number format of encoding for search."""
        return choose_precision(self.recipe.search.precision, self.device)

    @contextmanager
    def teacher(self, section: Mapping[str, Any] | None = None) -> Iterator[Teacher]:
        """Build the recipe's teacher, or another section's, with its verdicts kept in the store.

        It is freed afterwards, before the student trains.
        """
        teacher = self._build_teacher(section or self.recipe.teacher)
        try:
            yield teacher
        finally:
            teacher.close()

    def teacher_resources(self) -> TeacherResources:
        """What a teacher may draw on."""
        return TeacherResources(build=self._build_teacher, corpus=self.corpus, seed=self.recipe.seed)

    def _build_teacher(self, section: Mapping[str, Any]) -> Teacher:
        teacher = registry.build("teacher", section, self.teacher_resources())
        if not hasattr(teacher, "judge"):
            raise RecipeError(
                f"The teacher '{section['name']}' makes pairs of texts; it judges no candidates.",
                where="teacher.name",
                mend="Name it as warmup.teacher, and one that judges as teacher.",
            )
        return StoredTeacher(teacher, self.store, self.counters, Meter(energy=EnergyMeter.find()))


def open_context(recipe: Recipe, console: Console, *, store: Store | None = None) -> RunContext:
    """Load a recipe's corpus and check that it fits; nothing else is built yet."""
    from lmteach.corpus.load import load_corpus
    from lmteach.recipe.check import check_label_count

    corpus = load_corpus(recipe.corpus, recipe.seed, Path.cwd())
    check_label_count(recipe, len(corpus.labels))
    sizes = [
        f"{len(corpus.train):,} train",
        f"{len(corpus.dev or ()):,} dev",
        f"{len(corpus.test or ()):,} test",
    ]
    console.say(f"corpus {corpus.name}: {', '.join(sizes)}, {len(corpus.labels):,} labels")
    return RunContext(recipe, corpus, console, store, budget=Budget(**dataclasses.asdict(recipe.budget)))
