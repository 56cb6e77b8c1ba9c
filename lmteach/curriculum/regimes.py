"""One recipe under several regimes of supervision and several seeds, as the table that LlamBERT prints."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmteach.errors import RecipeError, nearest_name
from lmteach.recipe.load import LISTED
from lmteach.recipe.schema import Recipe
from lmteach.tracking.console import Console

REGIMES = ("gold", "teacher", "teacher_extra", "combined")


def take_lists(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Take `supervision=` and `seed=` with several values out of overrides; return them and the others.

    `all` means all four regimes; several values are parted by commas.

    >>> take_lists(["supervision=gold,teacher", "seed=1", "training.lr=1e-5"])
    ({'supervision': ['gold', 'teacher']}, ['seed=1', 'training.lr=1e-5'])

    Raises:
        RecipeError: no such regime, or a seed that is no whole number.
    """
    lists: dict[str, list[str]] = {}
    others = []
    for text in overrides:
        key, _, value = text.lstrip("-").partition("=")
        values = [v.strip() for v in value.strip("[]").split(",") if v.strip()]
        if key not in LISTED or (len(values) < 2 and value != "all"):
            others.append(text)
            continue
        lists[key] = list(REGIMES) if (key, value) == ("supervision", "all") else values
        _check(key, lists[key])
    return lists, others


def _check(key: str, values: Sequence[str]) -> None:
    for value in values:
        if key == "supervision" and value not in REGIMES:
            raise RecipeError(
                f"There is no regime '{value}'.",
                where=key,
                nearest=nearest_name(value, REGIMES),
                mend=f"Regimes: {', '.join(REGIMES)}, or all.",
            )
        if key == "seed" and not value.isdecimal():
            raise RecipeError(f"The seed '{value}' is no whole number.", where=key)


def expand(recipe: Recipe, lists: Mapping[str, Sequence[str]]) -> list[Recipe]:
    """Return a recipe for each regime and seed; their runs lie in folders of the recipe's own.

    Args:
        lists: what `take_lists` found.
    """
    home = Path(recipe.run.folder or f"runs/{recipe.name}")
    found = []
    for seed in lists.get("seed", [str(recipe.seed)]):
        for regime in lists.get("supervision", [recipe.supervision]):
            name = regime + (f"_seed{seed}" if "seed" in lists else "")
            run = dataclasses.replace(recipe.run, folder=str(home / name))
            corpus = recipe.corpus
            if regime in (
                "gold",
                "teacher",
            ):  # a run without the extra documents is one run, however many there are
                corpus = dataclasses.replace(corpus, n_extra=0)
            noise = recipe.noise
            if regime == "gold":  # what is about a teacher's labels has no meaning there
                noise = dataclasses.replace(noise, labels="hard", weights="none", drop="none")
            changed: Any = {
                "supervision": regime,
                "seed": int(seed),
                "run": run,
                "corpus": corpus,
                "noise": noise,
            }
            found.append(dataclasses.replace(recipe, **changed))
    return found


def fit_regimes(
    recipe: Recipe, lists: Mapping[str, Sequence[str]], console: Console, *, resume: bool = False
) -> list[dict[str, Any]]:
    """Fit a recipe under each regime and seed, print the table; return the final lines.

    Raises:
        RecipeError: the recipe is not a classifier's, or contradicts itself.
    """
    if recipe.student.kind != "classifier":
        raise RecipeError("Regimes of supervision are a classifier's.", where="supervision")
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.check import check_recipe

    recipes = expand(recipe, lists)
    for one in recipes:  # before the first one has cost anything
        check_recipe(one)
    finals = []
    for one in recipes:
        console.say(f"supervision {one.supervision}, seed {one.seed}: {one.run.folder}")
        finals.append(fit(one, console, resume=resume))
    print_regimes(recipe, finals, console)
    return finals


def print_regimes(recipe: Recipe, finals: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print accuracy by regime, the paper's beside it where the recipe knows it."""
    metric = "p@1" if recipe.student.multilabel else "accuracy"
    rows = []
    for regime in dict.fromkeys(final["supervision"] for final in finals):
        own = [final for final in finals if final["supervision"] == regime and "student" in final]
        if not own:
            continue
        found = [100 * final["student"][metric] for final in own]
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else _interval(own[0], metric)
        texts = " + ".join(f"{stage['documents']:,.0f}" for stage in own[0]["stages"])
        paper = f"{recipe.paper[regime]:.2f}" if regime in recipe.paper else ""
        rows.append([regime, texts, f"{statistics.mean(found):.2f}{spread}", _teacher(own), paper])
    n_seeds = max((sum(f["supervision"] == row[0] for f in finals) for row in rows), default=0)
    how = f"mean of {n_seeds} seeds ± standard deviation" if n_seeds > 1 else "95% bootstrap interval"
    title = f"{recipe.name}: {metric} in % on held-out gold, {how}"
    console.table(title, ["supervision", "texts", "ours", "the teacher's labels", "paper"], rows)


def _interval(final: Mapping[str, Any], metric: str) -> str:
    bound = final.get("intervals", {}).get("student", {}).get(metric)
    return "" if bound is None else f" [{100 * bound[0]:.2f}, {100 * bound[1]:.2f}]"


def _teacher(finals: Sequence[Mapping[str, Any]]) -> str:
    """Return how often the teacher's labels of training documents were right, where there is gold to say so."""
    found = [
        100 * part["accuracy"]
        for final in finals
        for name, part in final.get("teacher", {}).items()
        if name == "train" and "accuracy" in part
    ]
    return f"{statistics.mean(found):.2f}" if found else ""
