"""A sweep from the YAML that `wandb sweep` reads, run locally: grid or random, one run folder a trial, one store."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.curriculum.sweep_file import Sweep, distribution_of
from lmteach.errors import LmteachError, RecipeError, nearest_name
from lmteach.recipe.layers import find_recipe
from lmteach.recipe.load import load_recipe
from lmteach.tracking.run_folder import RunFolder, write_json

INTERRUPTED = 130  # the exit status of a trial that was stopped by Ctrl-C
BUSY_SECONDS = 2.0  # between two looks at a trial that another process is at
NOT_THE_TRIAL = ("name", "run", "tracking")  # sections that do not decide what a trial finds


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
    kind = distribution_of(value)
    if kind == "int_uniform":
        return list(range(value["min"], value["max"] + 1))
    return [value["value"]] if kind == "constant" else list(value["values"])


def _draw(parameters: Mapping[str, Mapping[str, Any]], rng: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for key, value in parameters.items():
        kind = distribution_of(value)
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

    A trial that another process is at (a second sweep of the same file, or what a killed one left running) is
    left to it, and waited for at the end.

    Args:
        run: runs `lmteach` with arguments and returns its exit status.
        say: shows a line about each trial.
    """
    recipe = str(find_recipe(sweep.recipe))
    results: dict[Path, TrialResult] = {}
    queue = [(number, trial, False) for number, trial in enumerate(trials, start=1)]
    while queue:
        number, trial, waited = queue.pop(0)
        named = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        which = f"trial {number} of {len(trials)}: {named}"
        if RunFolder(trial.folder).busy() and not waited:
            say(f"{which}: another process is at it")
            queue.append((number, trial, True))
            continue
        while RunFolder(trial.folder).busy():
            time.sleep(BUSY_SECONDS)
        if trial.finished:
            say(f"{which}: finished already")
            results[trial.folder] = TrialResult(trial, numbers_of(trial.folder), failed=False)
            continue
        say(which)
        results[trial.folder] = _run_trial(sweep, trial, recipe, run)
    return [results[trial.folder] for trial in trials]


def _run_trial(sweep: Sweep, trial: Trial, recipe: str, run: Callable[[list[str]], int]) -> TrialResult:
    trial.folder.mkdir(parents=True, exist_ok=True)
    write_json(trial.folder / "trial.json", {"sweep": sweep.name, "values": dict(trial.values)})
    status = run(["fit", "--resume", "--quiet", "--recipe", recipe, *trial.overrides])
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    failed = status != 0 or not trial.finished
    return TrialResult(trial, {} if failed else numbers_of(trial.folder), failed)


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
