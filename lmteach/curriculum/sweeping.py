"""A sweep from the YAML that `wandb sweep` reads, run locally: grid or random, one run folder a trial, one store."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.errors import LmteachError, RecipeError, nearest_name
from lmteach.recipe.layers import find_recipe, shipped_folder
from lmteach.recipe.load import load_recipe
from lmteach.tracking.run_folder import RunFolder, write_json

METHODS = ("grid", "random")
MACROS = ("${env}", "${interpreter}", "${program}", "${args_no_hyphens}", "${args}", "lmteach")
DISTRIBUTIONS = ("constant", "categorical", "int_uniform", "uniform", "q_uniform", "log_uniform_values")
NOT_THE_TRIAL = ("name", "run", "tracking")  # sections that do not decide what a trial finds


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


@dataclass(frozen=True)
class Trial:
    """One set of values; `folder` is named by everything that decides what it finds."""

    values: Mapping[str, Any]
    overrides: tuple[str, ...]
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its run is over."""
        return any(event.get("event") == "final" for event in RunFolder(self.folder).events())


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to: its numbers by name, or that it failed."""

    trial: Trial
    numbers: Mapping[str, Any]
    failed: bool


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
    shipped = shipped_folder() / "sweeps"
    for path in (Path(name), shipped / name):
        if path.is_file():
            return path
    known = [path.name for path in sorted(shipped.glob("*.yaml"))]
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
    kind = _distribution(value)
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


def _distribution(value: Mapping[str, Any]) -> str:
    if "distribution" in value:
        return str(value["distribution"])
    if "value" in value:
        return "constant"
    if "values" in value:
        return "categorical"
    whole = all(isinstance(value.get(end), int) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def plan_trials(
    sweep: Sweep, folder: Path, *, n_trials: int | None = None, seed: int = 0, overrides: Sequence[str] = ()
) -> list[Trial]:
    """Return a sweep's trials, each with its own folder; equal ones once.

    Args:
        folder: the trials' folders lie in it.
        n_trials: how many; None = all of a grid, the file's `run_cap` of a random search.
        seed: decides a random search: trial i is the same however many there are.
        overrides: for all trials, over those of the file.

    Raises:
        RecipeError: a key or value that no recipe takes, or a random search without a number of trials.
    """
    n_trials = sweep.cap if n_trials is None else n_trials
    if sweep.method == "grid":
        axes = [_all_values(value) for value in sweep.parameters.values()]
        drawn = [dict(zip(sweep.parameters, chosen, strict=True)) for chosen in itertools.product(*axes)]
        drawn = drawn[:n_trials]
    elif n_trials is None:
        raise RecipeError(
            "A random search has no end of its own.",
            where=str(sweep.path),
            mend="Say how many trials: --trials 20, or run_cap: 20 in the file.",
        )
    else:
        drawn = [_draw(sweep.parameters, random.Random(f"{seed} {i}")) for i in range(n_trials)]
    trials = {trial.folder: trial for trial in (_trial(sweep, v, folder, overrides) for v in drawn)}
    return list(trials.values())


def _all_values(value: Mapping[str, Any]) -> list[Any]:
    kind = _distribution(value)
    if kind == "int_uniform":
        return list(range(value["min"], value["max"] + 1))
    return [value["value"]] if kind == "constant" else list(value["values"])


def _draw(parameters: Mapping[str, Mapping[str, Any]], rng: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for key, value in parameters.items():
        kind = _distribution(value)
        if kind in ("constant", "categorical"):
            choices = _all_values(value)
            drawn[key] = rng.choices(choices, weights=value.get("probabilities"))[0]
        elif kind == "int_uniform":
            drawn[key] = rng.randint(value["min"], value["max"])
        elif kind == "log_uniform_values":
            drawn[key] = math.exp(rng.uniform(math.log(value["min"]), math.log(value["max"])))
        else:
            drawn[key] = rng.uniform(value["min"], value["max"])
            if kind == "q_uniform":
                step = value.get("q", 1)
                drawn[key] = round(drawn[key] / step) * step
    return drawn


def _trial(sweep: Sweep, values: Mapping[str, Any], folder: Path, overrides: Sequence[str]) -> Trial:
    # Locally nothing is sent unless the user says so, whatever the file's command says for agents.
    own = [f"{key}={_written(value)}" for key, value in values.items()]
    given = [*sweep.fixed, *own, "tracking.wandb=false", *overrides]
    recipe = dataclasses.asdict(load_recipe(sweep.recipe, given).recipe)
    decisive = {key: value for key, value in recipe.items() if key not in NOT_THE_TRIAL}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:12]
    place = folder / digest
    return Trial(values, (*given, f"run.folder={place}"), place)


def _written(value: Any) -> str:
    """Return a value as W&B's agent writes it on the command line."""
    return str(value)


def run_sweep(
    sweep: Sweep,
    trials: Sequence[Trial],
    *,
    run: Callable[[list[str]], int],
    say: Callable[[str], None],
) -> list[TrialResult]:
    """Run the trials that are not finished, one after the other; a trial that fails does not stop the others.

    Args:
        run: runs `lmteach` with arguments and returns its exit status.
        say: shows a line about each trial.
    """
    recipe = str(find_recipe(sweep.recipe))
    results = []
    for number, trial in enumerate(trials, start=1):
        named = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        if trial.finished:
            say(f"trial {number} of {len(trials)}: {named}: finished already")
            results.append(TrialResult(trial, numbers_of(trial.folder), failed=False))
            continue
        say(f"trial {number} of {len(trials)}: {named}")
        trial.folder.mkdir(parents=True, exist_ok=True)
        write_json(trial.folder / "trial.json", {"sweep": sweep.name, "values": dict(trial.values)})
        status = run(["fit", "--resume", "--quiet", "--recipe", recipe, *trial.overrides])
        if status == 130:
            raise KeyboardInterrupt
        failed = status != 0 or not trial.finished
        results.append(TrialResult(trial, {} if failed else numbers_of(trial.folder), failed))
    return results


def numbers_of(folder: Path) -> dict[str, Any]:
    """Return a finished run's numbers under the names that W&B knows them by."""
    from lmteach.curriculum.tracked import summary_of

    events = RunFolder(folder).events()
    final = [event for event in events if event.get("event") == "final"][-1]
    cycles = [event["dev_p1"] for event in events if event.get("event") == "cycle"]
    numbers = summary_of(final)
    return {**numbers, **({"dev_p1": max(cycles)} if cycles else {})}


def best_first(sweep: Sweep, results: Sequence[TrialResult]) -> list[TrialResult]:
    """Return results by the sweep's metric, failed ones last.

    Raises:
        LmteachError: no finished trial has such a metric.
    """
    finished = [result for result in results if not result.failed]
    names = {name for result in finished for name in result.numbers}
    if finished and sweep.metric not in names:
        raise LmteachError(
            f"No trial has a number called '{sweep.metric}'.",
            where=f"{sweep.path}: metric.name",
            nearest=nearest_name(sweep.metric, names),
        )
    sign = -1 if sweep.goal == "maximize" else 1

    def place(result: TrialResult) -> tuple[bool, float]:
        value = result.numbers.get(sweep.metric)
        return (not isinstance(value, int | float), sign * float(value or 0.0))

    return sorted(results, key=place)


def agent_folder() -> str:
    """Return the run folder of a trial that a W&B agent started; "" where none did."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID", ""), os.environ.get("WANDB_RUN_ID", "")
    return f"runs/sweeps/{sweep}/{run}" if sweep and run else ""
