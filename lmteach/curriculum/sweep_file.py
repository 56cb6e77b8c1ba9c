"""A sweep's file, as `wandb sweep` reads it: what can be run without W&B's server, and what cannot is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.errors import RecipeError, nearest_name
from lmteach.recipe.layers import shipped_sweeps

METHODS = ("grid", "random")
MACROS = ("${env}", "${interpreter}", "${program}", "${args_no_hyphens}", "${args}", "lmteach")
DISTRIBUTIONS = ("constant", "categorical", "int_uniform", "uniform", "q_uniform", "log_uniform_values")


@dataclass(frozen=True)
class Sweep:
    """A sweep's file.

    Attributes:
        fixed: overrides that all trials share, from the file's command.
        parameters: by recipe key, W&B's description of its values.
        metric: name and goal, `maximize` or `minimize`.
        cap: how many trials the file itself allows; None = no cap.
    """

    path: Path
    name: str
    method: str
    recipe: str
    fixed: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    metric: str
    goal: str
    cap: int | None


def read_sweep(reference: str) -> Sweep:
    """Read a sweep's file, by path or by the name of a shipped one.

    Raises:
        RecipeError: no such file, no sweep, or one that only a W&B server can run.
    """
    import yaml

    path = _find(reference)
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"This is not YAML: {str(error).splitlines()[0]}.", where=str(path)) from error
    if not isinstance(plain, Mapping) or not isinstance(plain.get("parameters"), Mapping):
        raise RecipeError("A sweep is a mapping with `method` and `parameters`.", where=str(path))
    method = str(plain.get("method", ""))
    if method not in METHODS:
        mend = "Run it by a W&B agent: `wandb sweep FILE`, then `wandb agent ID`; or set method: random."
        what = (
            "Bayesian search needs W&B's server, which proposes the next trial; locally there is grid and random."
            if method == "bayes"
            else f"There is no search method '{method}'; there are {' and '.join(METHODS)}."
        )
        raise RecipeError(what, where=f"{path}: method", nearest=nearest_name(method, METHODS), mend=mend)
    recipe, fixed = _read_command(plain.get("command"), path)
    metric = plain.get("metric") or {}
    return Sweep(
        path=path,
        name=str(plain.get("name") or path.stem),
        method=method,
        recipe=recipe,
        fixed=fixed,
        parameters={
            str(key): _checked(key, value, method, path) for key, value in plain["parameters"].items()
        },
        metric=str(metric.get("name", "dev_p1")),
        goal=str(metric.get("goal", "maximize")),
        cap=plain.get("run_cap"),
    )


def _find(reference: str) -> Path:
    """Return the file that a path means, or the name of a shipped sweep."""
    name = reference if reference.endswith((".yaml", ".yml")) else f"{reference}.yaml"
    shipped = shipped_sweeps()
    for path in (Path(name), *shipped):
        if path.is_file() and name in (str(path), path.name):
            return path
    known = [path.name for path in shipped]
    raise RecipeError(
        f"There is no sweep '{reference}', neither as a path nor among the shipped ones ({', '.join(known)}).",
        nearest=nearest_name(Path(name).name, known),
    )


def _read_command(command: Any, path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the recipe and the overrides that a sweep's command gives every trial."""
    words = [str(word) for word in command or ()]
    words = [word for word in words if word not in MACROS]
    if words[:1] != ["fit"] or "--recipe" not in words[:-1]:
        raise RecipeError(
            "A sweep's `command` must run `lmteach fit --recipe RECIPE`.",
            where=f"{path}: command",
            mend='command: ["${env}", lmteach, fit, --resume, --recipe, RECIPE, "${args_no_hyphens}"]',
        )
    at = words.index("--recipe")
    recipe, rest = words[at + 1], [*words[1:at], *words[at + 2 :]]
    return recipe, tuple(word for word in rest if "=" in word)


def _checked(key: Any, value: Any, method: str, path: Path) -> Mapping[str, Any]:
    """Return a parameter's description after making sure that its values can be drawn here."""
    where = f"{path}: parameters.{key}"
    if not isinstance(value, Mapping):
        raise RecipeError("A parameter needs `value`, `values`, or `min` and `max`.", where=where)
    if "parameters" in value:
        raise RecipeError(
            "Nested parameters reach `fit` as one dictionary.",
            where=where,
            mend=f"Write dotted keys, such as `{key}.KEY`, each with its own values.",
        )
    kind = distribution_of(value)
    if kind not in DISTRIBUTIONS:
        listed = ", ".join(DISTRIBUTIONS)
        raise RecipeError(f"The distribution '{kind}' is not drawn here; there are {listed}.", where=where)
    if kind in ("uniform", "q_uniform", "log_uniform_values", "int_uniform"):
        if not {"min", "max"} <= value.keys() or not value["min"] < value["max"]:
            raise RecipeError(f"'{kind}' needs `min` below `max`.", where=where)
        if kind == "log_uniform_values" and value["min"] <= 0:
            raise RecipeError("'log_uniform_values' needs `min` above 0.", where=where)
    if kind == "categorical" and not value["values"]:
        raise RecipeError("`values` is empty.", where=where)
    if method == "grid" and kind not in ("constant", "categorical", "int_uniform"):
        raise RecipeError(
            f"A grid needs values to count; '{kind}' has no end of them.",
            where=where,
            mend="List `values`, or set method: random.",
        )
    return value


def distribution_of(value: Mapping[str, Any]) -> str:
    """Return how a parameter's values are drawn, said or implied."""
    if "distribution" in value:
        return str(value["distribution"])
    if "value" in value:
        return "constant"
    if "values" in value:
        return "categorical"
    whole = all(isinstance(value.get(end), int) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"
