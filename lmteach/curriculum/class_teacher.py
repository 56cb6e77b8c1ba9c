"""A teacher asked for the class of documents: all classes are its candidates; its answers, cleaned, lie in the run.

Shape legend: n documents, C classes, m prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import ask
from lmteach.errors import RecipeError, nearest_name
from lmteach.teaching.class_verdicts import (
    ClassVerdicts,
    class_log_probs,
    mean_prior,
    pool,
    pool_log_odds,
    without_prior,
)
from lmteach.teaching.planning import teacher_parts
from lmteach.teaching.prompts import load_prompt
from lmteach.types import Judgement

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.recipe.schema import Recipe
    from lmteach.teaching.protocol import Teacher

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AskedClasses:
    """What the teacher is shown of the classes, in the order of the labels; `descriptions` is empty without any."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def of_text(self, text: str) -> Judgement:
        """Ask for the class of a text that is no document."""
        return Judgement(text, self.names, descriptions=self.descriptions)


class ClassJudgements(Sequence[Judgement]):
    """Documents with all classes as candidates, as judgements built one by one."""

    def __init__(self, documents: Documents, positions: npt.NDArray[np.int64], classes: AskedClasses) -> None:
        self.documents, self.positions = documents, positions
        self.classes, self.label_ids = classes, tuple(range(len(classes)))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        document = self.documents[int(self.positions[row])]
        return Judgement(
            document=document.text,
            candidates=self.classes.names,
            document_id=document.id,
            title=document.title,
            label_ids=self.label_ids,
            descriptions=self.classes.descriptions,
        )


def asked_classes(context: RunContext) -> AskedClasses:
    """Return what the teacher is shown of each class.

    Its name: of `classes.names`, else the label's name or text as `annotation.ask` says; and its description, of
    `classes.descriptions`.

    Raises:
        RecipeError: one of those keys names no label, two classes get one name, or a prompt has no place for
            descriptions.
    """
    labels, settings = context.corpus.labels, context.recipe.classes
    for key, given in (("names", settings.names), ("descriptions", settings.descriptions)):
        for label in given:
            if label not in labels.names:
                raise RecipeError(
                    f"There is no label '{label}'.",
                    where=f"classes.{key}",
                    nearest=nearest_name(label, labels.names),
                )
    named = settings.names
    shown = labels.names if context.recipe.annotation.ask == "name" else labels.texts
    found = [named.get(name, text) for name, text in zip(labels.names, shown, strict=True)]
    twins = sorted({name for name in found if found.count(name) > 1})
    if twins:
        raise RecipeError(f"Two classes are called '{twins[0]}'.", where="classes.names")
    said = [" ".join(settings.descriptions.get(name, "").split()) for name in labels.names]
    if not any(said):
        return AskedClasses(tuple(found))
    check_room(context.recipe)
    return AskedClasses(tuple(found), tuple(said))


def check_room(recipe: Recipe) -> None:
    """Refuse prompts that would not show `classes.descriptions`.

    Raises:
        RecipeError: the answer of one is the bare name, and nothing in front of it lists the classes.
    """
    parts = [part for section in teacher_sections(recipe) for part in teacher_parts(section)]
    for value in (prompt for part in parts if (prompt := getattr(part.config, "prompt", None)) is not None):
        try:
            prompt = load_prompt(value)
        except RecipeError:
            continue  # of a teacher that means something else by it
        if prompt.kind == "likelihood" or (prompt.kind == "choice" and not prompt.lists_candidates):
            raise RecipeError(
                f"The prompt '{prompt.name}' has no place for descriptions.",
                where="classes.descriptions",
                mend="Name the classes by {candidates} in its `system` or `user`, as the prompt 'choice' does.",
            )


def ask_classes(
    context: RunContext, documents: Documents, positions: npt.NDArray[np.int64], path: Path
) -> ClassVerdicts:
    """Return the teacher's verdicts on the documents at `positions`, from `path` where they are already.

    Raises:
        TeacherError: the teacher cannot answer; what it answered before is in the store.
    """
    if context.ranks.share(path.is_file()):
        return ClassVerdicts.load(path)
    classes = asked_classes(context)
    judgements = ClassJudgements(documents, positions, classes)
    log_odds_mnC, prior_mC, judged_n, stopped_by = [], [], np.ones(len(positions), np.bool_), ""
    for section in teacher_sections(context.recipe):
        with context.teacher(section) as teacher:
            said = ask(context, teacher, judgements)
            scores_nC = np.full((len(positions), len(classes)), np.nan)
            scores_nC[:, : said.scores_nk.shape[1]] = said.scores_nk
            cleaned_nC, prior_C = _clean(context, teacher, scores_nC, classes)
        log_odds_mnC.append(cleaned_nC)
        prior_mC.append(prior_C)
        judged_n &= said.judged_nk.any(axis=1)
        stopped_by = stopped_by or said.stopped_by or ""
    pooled_nC, agreement_n = (pool_log_odds if context.recipe.student.multilabel else pool)(log_odds_mnC)
    verdicts = ClassVerdicts(pooled_nC, judged_n, agreement_n, np.stack(prior_mC), stopped_by)
    path.parent.mkdir(parents=True, exist_ok=True)
    context.ranks.first_alone(lambda: verdicts.save(path))
    return verdicts


def teacher_sections(recipe: Recipe) -> list[Mapping[str, Any]]:
    """Return the recipe's teacher, and it again for each of `classes.paraphrases` with that prompt."""
    return [recipe.teacher, *({**recipe.teacher, "prompt": p} for p in recipe.classes.paraphrases)]


def _clean(
    context: RunContext, teacher: Teacher, scores_nC: Floats, classes: AskedClasses
) -> tuple[Floats, Floats]:
    """Return scores as log-probabilities without the teacher's leaning, and that leaning.

    Where several classes may apply, scores are log-odds already and are left as they are.
    """
    n_classes = len(classes)
    uniform_C = np.full(n_classes, 1 / n_classes)
    if context.recipe.student.multilabel:
        return scores_nC, uniform_C
    log_probs_nC = class_log_probs(scores_nC)
    settings = context.recipe.classes
    if settings.prior == "none":
        return log_probs_nC, uniform_C
    if settings.prior == "batch":
        prior_C = mean_prior(log_probs_nC)
    else:
        asked = [classes.of_text(text) for text in settings.content_free]
        verdicts = context.ranks.first_then_rest(lambda: teacher.judge(asked))  # the rest by the store
        scores_fC = [[np.nan if s is None else s for s in verdict.scores] for verdict in verdicts]
        prior_C = mean_prior(class_log_probs(scores_fC))
    return without_prior(log_probs_nC, prior_C), prior_C
