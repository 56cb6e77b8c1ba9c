"""Candidate teachers on the same few judgements: which is steady, agrees with the others, and beats the student.

Shape legend: n documents, k candidates of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmteach import registry
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import JudgedShortlist, judge
from lmteach.curriculum.sample import draw_shortlist
from lmteach.curriculum.standings import (
    Standing,
    agreement_with,
    correlate,
    gain_by_gold,
    gain_by_others,
    mean_of,
    place_all,
)
from lmteach.curriculum.variants import title, with_prompt
from lmteach.errors import RecipeError
from lmteach.metrics.values import Floats
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.cost import Counters

if TYPE_CHECKING:
    from lmteach.corpus.gold import Gold

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Candidate:
    """A teacher to try: what the user called it, and its section."""

    name: str
    section: Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """All candidates, the best first. `by_gold` says what `gain` was measured against."""

    n_documents: int
    n_judged: int
    by_gold: bool
    standings: list[Standing] = field(default_factory=list)


@dataclass(frozen=True)
class _Tried:
    candidate: Candidate
    scores_nk: Floats
    again_nk: Floats | None
    how: str
    unread: float
    counters: Counters


def choose_teacher(
    context: RunContext, candidates: Sequence[Candidate], n_documents: int, paraphrase: str = ""
) -> Choice:
    """Have every candidate judge the same shortlists of n documents, and rank them. The store keeps all answers.

    Args:
        paraphrase: a prompt preset to ask again by; "" = another preset of the same kind.

    Raises:
        RecipeError: fewer than two candidates, two of one name, or an unknown key or prompt.
        TeacherError: a teacher cannot be built or cannot answer.
    """
    if len({candidate.name for candidate in candidates}) < max(2, len(candidates)):
        raise RecipeError("Name at least two different teachers to choose between.")
    recipe, documents = context.recipe, context.corpus.train
    shortlist = draw_shortlist(context, n_documents, "choose")
    tried = [_try(context, candidate, shortlist, paraphrase) for candidate in candidates]
    gold = documents.gold.take(shortlist.positions_q) if documents.has_gold else None
    ids_nk = shortlist.label_ids_qk[:, : recipe.search.n_judged]
    sure = {"resamples": recipe.evaluation.resamples, "seed": recipe.seed}
    standings = [_standing(one, tried, ids_nk, gold, sure) for one in tried]
    return Choice(len(shortlist), ids_nk.shape[1], gold is not None, place_all(standings))


def _try(context: RunContext, candidate: Candidate, shortlist: Shortlist, paraphrase: str) -> _Tried:
    """Ask one teacher once, and again in another way where there is one."""
    context.console.say(f"{candidate.name}: {title(candidate.section)}")
    k, documents, before = context.recipe.search.n_judged, context.corpus.train, context.counters.copy()
    again = None
    how, section = reworded(candidate.section, paraphrase)
    with context.teacher(candidate.section) as teacher:
        said = judge(context, teacher, documents, shortlist, k)
        if section is None and teacher.scope == "list":
            how = "candidates in reverse"
            turned, order_nk = _turn(shortlist, k)
            again = _turn_back(judge(context, teacher, documents, turned, k), order_nk)
    if section is not None:
        with context.teacher(section) as teacher:
            again = judge(context, teacher, documents, shortlist, k).scores_nk.astype(np.float64)
    n_answers = int(said.judged_nk.sum())
    unread = float((said.judged_nk & np.isnan(said.scores_nk)).sum() / n_answers) if n_answers else 0.0
    scores_nk = said.scores_nk.astype(np.float64)
    return _Tried(candidate, scores_nk, again, how, unread, context.counters - before)


def reworded(section: Mapping[str, Any], paraphrase: str = "") -> tuple[str, Mapping[str, Any] | None]:
    """Return a teacher's section with another prompt of the same kind, and what it is; None where it takes none.

    Raises:
        RecipeError: there is no such prompt, or it is of another kind.
    """
    from lmteach.teaching.prompts import load_prompt
    from lmteach.teaching.wordings import PRESETS

    own = _prompt_of(section)
    if own is None:
        return "", None
    kind = load_prompt(own).kind
    if paraphrase:
        if load_prompt(paraphrase).kind != kind:
            raise RecipeError(
                f"The prompt '{paraphrase}' is {load_prompt(paraphrase).kind}, the teacher's own {kind}: their "
                "scores do not compare.",
                where="--paraphrase",
            )
        name = paraphrase
    else:
        alike = [name for name, prompt in PRESETS.items() if prompt.kind == kind and name != own]
        alike.sort(key=lambda name: not (isinstance(own, str) and name.startswith(own)))
        if not alike:
            return "", None
        name = alike[0]
    return f"asked by '{name}'", with_prompt(section, name)


def _prompt_of(section: Mapping[str, Any]) -> Any:
    """Return the first prompt of a teacher or of its members; None where none takes one."""
    import dataclasses

    for key in dataclasses.fields(registry.load("teacher", section["name"]).Config):
        value = section.get(key.name)
        if key.name == "prompt" and value:
            return value
        if key.metadata.get("plugin") == "teacher" and value:
            for inner in [value] if isinstance(value, Mapping) else value:
                found = _prompt_of(inner)
                if found is not None:
                    return found
    return None


def _turn(shortlist: Shortlist, k: int) -> tuple[Shortlist, npt.NDArray[np.int64]]:
    """Return the first k candidates in reverse, empty places still last, and the order that they now have."""
    ids_nk, scores_nk = shortlist.label_ids_qk[:, :k], shortlist.scores_qk[:, :k]
    n_there = (ids_nk >= 0).sum(axis=1, keepdims=True)
    places = np.arange(ids_nk.shape[1])[None, :]
    order_nk = np.where(places < n_there, n_there - 1 - places, places)
    turned_ids = np.take_along_axis(ids_nk, order_nk, 1)
    turned_scores = np.take_along_axis(scores_nk, order_nk, 1)
    return Shortlist(shortlist.positions_q, turned_ids, turned_scores), order_nk


def _turn_back(said: JudgedShortlist, order_nk: npt.NDArray[np.int64]) -> Floats:
    back: Floats = np.empty(said.scores_nk.shape, dtype=np.float64)
    np.put_along_axis(back, order_nk, said.scores_nk.astype(np.float64), axis=1)
    return back


def _standing(
    one: _Tried,
    all_: Sequence[_Tried],
    ids_nk: npt.NDArray[np.int32],
    gold: Gold | None,
    sure: Mapping[str, int],
) -> Standing:
    others = [other.scores_nk for other in all_ if other is not one]
    again = None if one.again_nk is None else correlate(one.scores_nk, one.again_nk)
    agreement = agreement_with(one.scores_nk, others)
    gain = (
        gain_by_gold(one.scores_nk, ids_nk, gold)
        if gold is not None
        else gain_by_others(one.scores_nk, others)
    )
    made, usage = one.counters.made, one.counters.usage
    return Standing(
        name=one.candidate.name,
        teacher=title(one.candidate.section),
        consistency=None if again is None else mean_of(again, sure),
        how=one.how,
        agreement=mean_of(agreement, sure),
        gain=mean_of(gain, sure),
        unread=one.unread,
        judgements=made,
        from_store=one.counters.from_store,
        seconds=usage.seconds / made * 1000 if made else None,
        usd=usage.usd / made * 1000 if made else None,
    )


def read_candidate(text: str, recipe_teacher: Mapping[str, Any]) -> Candidate:
    """Return the teacher that a word of the command line means.

    `recipe` is the recipe's own; `{name: ...}` a section as it stands; a file holds a section, or a recipe whose
    teacher is meant; anything else is a plugin's name, with its defaults.

    Raises:
        RecipeError: no such file, plugin or key.
    """
    import yaml

    from lmteach.recipe.load import resolve_section

    if text == "recipe":
        return Candidate("recipe", recipe_teacher)
    if text.lstrip().startswith("{"):
        plain, name = yaml.safe_load(text), text
    elif text.endswith((".yaml", ".yml")):
        path = Path(text)
        if not path.is_file():
            raise RecipeError(f"There is no file {text}.", mend="Name a YAML file, a plugin, or {name: ...}.")
        plain, name = yaml.safe_load(path.read_text(encoding="utf-8")), path.stem
        if isinstance(plain, Mapping) and ("teacher" in plain or "extends" in plain):
            from lmteach.recipe.load import load_recipe

            return Candidate(name, load_recipe(text).recipe.teacher)
    else:
        plain, name = {"name": text}, text
    if not isinstance(plain, Mapping):
        raise RecipeError(f"'{text}' holds no teacher's section.", mend="Write {name: ..., KEY: VALUE}.")
    return Candidate(name, resolve_section("teacher", plain, f"teacher '{text}'"))
