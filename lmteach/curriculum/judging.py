"""A shortlist before the teacher: its candidates as judgements, asked within the budget, and the file of what it said.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.sharded import ask_in_parts
from lmteach.errors import TeacherError
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotator import AnnotatedBatch, annotate
from lmteach.teaching.cost import Budget
from lmteach.teaching.protocol import Teacher
from lmteach.tracking.arrays import MEND_VERDICTS, read_arrays, write_arrays
from lmteach.types import Judgement

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents


@dataclasses.dataclass(frozen=True)
class JudgedShortlist:
    """What the teacher said about a shortlist's first k labels; see `annotator.AnnotatedBatch`."""

    label_ids_nk: npt.NDArray[np.int32]
    scores_nk: npt.NDArray[np.float32]
    judged_nk: npt.NDArray[np.bool_]
    stopped_by: str = ""

    def save(self, path: Path) -> None:
        """Write an npz file whole or not at all."""
        write_arrays(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> JudgedShortlist:
        """Read what `save` wrote.

        Raises:
            RunError: the file is damaged or something else.
        """
        with read_arrays(path, "These verdicts", MEND_VERDICTS) as file:
            return cls(file["label_ids_nk"], file["scores_nk"], file["judged_nk"], str(file["stopped_by"]))


class Judgements(Sequence[Judgement]):
    """A shortlist's first k labels as judgements, built one by one, so that their texts are not all in memory.

    `blind`: the student's scores are given as all alike, so that a teacher that adds them in speaks for itself.
    """

    def __init__(
        self,
        documents: Documents,
        shortlist: Shortlist,
        label_texts: Sequence[str],
        k: int,
        *,
        blind: bool = False,
    ) -> None:
        self.documents, self.shortlist, self.label_texts, self.k = documents, shortlist, label_texts, k
        self.blind = blind

    def __len__(self) -> int:
        return len(self.shortlist)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        document = self.documents[int(self.shortlist.positions_q[row])]
        label_ids, scores = self.shortlist.of(row, self.k)
        return Judgement(
            document=document.text,
            candidates=tuple(self.label_texts[i] for i in label_ids.tolist()),
            document_id=document.id,
            title=document.title,
            label_ids=tuple(label_ids.tolist()),
            student_scores=(0.0,) * len(scores) if self.blind else tuple(scores.tolist()),
        )


def judgements_of(
    context: RunContext, documents: Documents, shortlist: Shortlist, k: int, *, blind: bool = False
) -> Judgements:
    """Return what the recipe's teacher is asked about a shortlist's first k labels; see `Judgements`."""
    labels = context.corpus.labels
    shown = labels.names if context.recipe.annotation.ask == "name" else labels.texts
    return Judgements(documents, shortlist, shown, k, blind=blind)


def judge_or_load(
    context: RunContext,
    documents: Documents,
    shortlist: Shortlist,
    k: int,
    path: Path,
    *,
    blind: bool = False,
) -> JudgedShortlist:
    """Return the teacher's verdicts on each shortlist's first k labels, from `path` where they are already."""
    if context.ranks.share(path.is_file()):
        return JudgedShortlist.load(path)
    with context.teacher() as teacher:
        judged = judge(context, teacher, documents, shortlist, k, blind=blind)
    context.ranks.first_alone(lambda: judged.save(path))
    return judged


def judge(
    context: RunContext,
    teacher: Teacher,
    documents: Documents,
    shortlist: Shortlist,
    k: int,
    *,
    blind: bool = False,
) -> JudgedShortlist:
    """Have the teacher judge each shortlist's first k labels, within the run's budget, with progress.

    Raises:
        TeacherError: the teacher cannot answer; what it answered before is in the store.
    """
    said = ask(context, teacher, judgements_of(context, documents, shortlist, k, blind=blind))
    ids_nk = shortlist.label_ids_qk[:, :k]
    missing = ids_nk.shape[1] - said.scores_nk.shape[1]
    if missing < 0:
        raise TeacherError(f"The teacher scored {said.scores_nk.shape[1]} candidates where {k} were asked.")
    return JudgedShortlist(
        ids_nk,
        np.pad(said.scores_nk, ((0, 0), (0, missing)), constant_values=np.nan),
        np.pad(said.judged_nk, ((0, 0), (0, missing))),
        said.stopped_by or "",
    )


def ask(context: RunContext, teacher: Teacher, judgements: Sequence[Judgement]) -> AnnotatedBatch:
    """Have the teacher answer judgements within the run's budget, with progress.

    Several ranks ask their own teachers about a part each; all get all answers.

    Raises:
        TeacherError: the teacher cannot answer; what it answered before is in the store.
    """
    if context.ranks.n == 1:
        said = _ask(context, teacher, judgements, context.budget, context.save_spent)
    else:
        said = ask_in_parts(
            context, judgements, lambda part, budget, keep: _ask(context, teacher, part, budget, keep)
        )
    if said.stopped_by:
        context.console.say(f"judge: stopped at {said.stopped_by}; what was judged by then is used")
    return said


def _ask(
    context: RunContext,
    teacher: Teacher,
    judgements: Sequence[Judgement],
    budget: Budget,
    keep: Callable[[], None],
) -> AnnotatedBatch:
    with context.console.stage("judge", len(judgements), unit="docs") as stage:
        done = 0

        def progress(n_done: int, n_total: int, counts: Any) -> None:
            nonlocal done
            stage.advance(n_done - done, **judging_numbers(counts))
            done = n_done
            context.ranks.check()
            keep()

        try:
            return annotate(
                teacher, judgements, budget=budget, progress=progress, yes_above=yes_above(context)
            )
        finally:
            keep()


def yes_above(context: RunContext) -> float | None:
    """Return the score above which an answer is a yes; None where that is known only when all have answered."""
    recipe = context.recipe
    if recipe.annotation.rule != "threshold" or recipe.calibration.documents:
        return None
    if recipe.student.kind == "classifier" and not recipe.student.multilabel:
        return None  # one class of each document is chosen, whatever its score
    return recipe.annotation.threshold


def judging_numbers(counts: Mapping[str, float]) -> dict[str, str]:
    """Return what is shown while a teacher judges: speed, what the store answered, yes-rate, unread, money."""
    made, seconds = int(counts["made"]), max(counts["seconds"], 1e-9)
    numbers = {
        "judged": f"{made:,} ({made / seconds:,.0f}/s)",
        "from_store": f"{int(counts['from_store']):,}",
    }
    if counts["read"]:
        numbers["yes"] = f"{counts['yes'] / counts['read']:.0%}"
    numbers["unread"] = f"{int(counts['unread']):,}"
    if counts["usd"]:
        numbers["usd"] = f"{counts['usd']:,.2f}"
    return numbers
