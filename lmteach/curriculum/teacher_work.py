"""A teacher at work in an engine's worker: one part of the judgements after another, within what all may spend."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.curriculum.asked_parts import read_part
from lmteach.curriculum.context import open_context
from lmteach.curriculum.judging import yes_above
from lmteach.engines.protocol import Sums, Tell
from lmteach.errors import RunError
from lmteach.recipe.schema import Recipe
from lmteach.teaching.annotator import annotate
from lmteach.teaching.cost import Budget, Spent
from lmteach.teaching.store import Store
from lmteach.teaching.stored_teacher import StoredTeacher, shorten
from lmteach.tracking.console import Console
from lmteach.types import Usage

if TYPE_CHECKING:
    from lmteach.teaching.protocol import Teacher

USAGE = tuple(f.name for f in fields(Usage))


@dataclass(frozen=True)
class TeacherWork:
    """What is done to each part: its judgements are made by the recipe's teacher and kept in its store.

    `identity`: that of the teacher where the command was given.
    """

    recipe: Recipe
    budget: Budget
    identity: str

    def open(self) -> TeacherAtWork:
        """Open the recipe, the store and the teacher.

        Raises:
            RunError: the teacher is another one on this machine.
            CorpusError, TeacherError, StoreError: see there.
        """
        with ExitStack() as stack:
            store = stack.enter_context(Store.open(self.recipe.run.store, run=self.recipe.name))
            context = open_context(self.recipe, Console(quiet=True), store=store)
            teacher = stack.enter_context(context.teacher())
            if teacher.identity != self.identity:
                raise RunError(
                    f"A worker's teacher is '{shorten(teacher.identity, 200)}', which is another one in the store than "
                    f"'{shorten(self.identity, 200)}'.",
                    where="engine=ray",
                    mend="Where machines differ, set teacher.precision to bf16 or fp32, not auto.",
                )
            return TeacherAtWork(teacher, self.budget, yes_above(context), stack.pop_all())


class TeacherAtWork:
    """Judges one part after another with one teacher; an engine's worker."""

    def __init__(self, teacher: Teacher, budget: Budget, yes_above: float | None, opened: ExitStack) -> None:
        assert isinstance(teacher, StoredTeacher)
        self._teacher, self._budget, self._yes_above, self._opened = teacher, budget, yes_above, opened

    def do(self, part: Path, tell: Tell) -> dict[str, str]:
        """Judge a part; return the cap that each split's judging stopped at, if any did."""
        capped = {}
        for split, judgements in read_part(part).items():
            shared = SharedBudget(self._budget, tell, split)
            said = annotate(
                self._teacher, judgements, budget=shared, progress=shared.note, yes_above=self._yes_above
            )
            if said.stopped_by:
                capped[split] = said.stopped_by
        return capped

    def close(self) -> None:
        """Free the teacher and close the store."""
        self._opened.close()


class SharedBudget(Budget):
    """The budget of many workers, as one of them sees it: what is charged is told, and what all spent comes back.

    Its cap on judgements is kept elsewhere, by `_allot`.
    """

    def __init__(self, whole: Budget, tell: Tell, split: str) -> None:
        super().__init__(None, whole.tokens, whole.usd, whole.hours, replace(whole.spent))
        self._before, self._tell, self._split = whole.spent, tell, split
        self._told: dict[str, float] = {}
        self.spent = _spent(self._before, tell({}))

    def charge(self, n_made: int, usage: Usage, seconds: float) -> None:
        """Tell what a batch cost; `seconds` is left out, since time goes by for all workers at once."""
        used = {name: getattr(usage, name) or 0.0 for name in USAGE}
        sums = self._tell({f"{self._split}/{name}": n for name, n in {"made": n_made, **used}.items()})
        self.spent = _spent(self._before, sums)

    def note(self, n_done: int, _n: int, counts: Mapping[str, float]) -> None:
        """Tell what became of the documents that are done: what has come since it was last told."""
        now = {f"{self._split}/{name}": counts[name] for name in ("from_store", "unread", "yes", "read")}
        now["documents"] = n_done
        self._tell({name: value - self._told.get(name, 0) for name, value in now.items()})
        self._told = now


def _spent(before: Spent, sums: Sums) -> Spent:
    """Return what the run has spent with what workers told, the lost attempts' too: they were paid."""

    def total(name: str) -> float:
        return sum(sums.total(key) for key in {*sums.standing, *sums.lost} if key.endswith(f"/{name}"))

    return Spent(
        before.judgements + int(total("made")),
        before.tokens + int(total("prompt_tokens") + total("answer_tokens")),
        before.usd + total("usd"),
        before.hours + sums.seconds / 3600,
    )
