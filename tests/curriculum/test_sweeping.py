"""Sweeps from the file that W&B reads: planned, run, gone on with, and the same command as an agent's."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach.curriculum import sweeping
from lmteach.curriculum.sweep_file import read_sweep
from lmteach.curriculum.sweeping import (
    Trial,
    TrialResult,
    agent_folder,
    best_first,
    plan_trials,
    run_sweep,
)
from lmteach.errors import LmteachError, RecipeError
from lmteach.recipe.layers import shipped_sweeps
from lmteach.recipe.load import load_recipe
from lmteach.tracking.run_folder import RunFolder

SHIPPED = shipped_sweeps()
GRID = {"search.n_judged": {"values": [3, 5]}, "training.lr": {"values": [0.001, 0.0001]}}


def write_sweep(folder: Path, recipe: Path | str, parameters: Mapping[str, Any], **changed: Any) -> Path:
    """Write a sweep over a recipe."""
    plain = {
        "name": "mine",
        "program": "lmteach",
        "method": "grid",
        "metric": {"name": "test/p@1", "goal": "maximize"},
        "parameters": parameters,
        "command": ["${env}", "${program}", "fit", "--resume", "--recipe", str(recipe), "tracking.wandb=true",
                    "corpus.n_train=40", "${args_no_hyphens}"],
        **changed,
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in plain.items() if value is not None}))
    return path


# Planning


def test_a_grid_is_every_combination_in_its_own_folder(recipe_file: Path, tmp_path: Path) -> None:
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, GRID)))
    trials = plan_trials(sweep, tmp_path / "trials")
    assert [tuple(trial.values.values()) for trial in trials] == [(3, 1e-3), (3, 1e-4), (5, 1e-3), (5, 1e-4)]
    assert len({trial.folder for trial in trials}) == 4
    recipe = load_recipe(sweep.recipe, trials[2].overrides).recipe
    assert (recipe.search.n_judged, recipe.training.lr, recipe.corpus.n_train) == (5, 1e-3, 40)
    assert recipe.tracking.wandb is False, "locally nothing is sent, whatever the agents' command says"
    assert recipe.run.folder == str(trials[2].folder)
    store = load_recipe(str(recipe_file)).recipe.run.store
    assert {load_recipe(sweep.recipe, trial.overrides).recipe.run.store for trial in trials} == {store}


def test_a_trials_folder_hangs_on_all_that_decides_it_and_on_nothing_else(
    recipe_file: Path, tmp_path: Path
) -> None:
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, GRID)))

    def folders(*overrides: str) -> list[Path]:
        return [trial.folder for trial in plan_trials(sweep, tmp_path, overrides=overrides)]

    assert folders("tracking.csv=false", "name=other") == folders()
    assert not set(folders("loss.margin=0.5")) & set(folders())


def test_a_random_search_is_its_seeds_and_grows_without_changing(recipe_file: Path, tmp_path: Path) -> None:
    parameters = {
        "training.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "search.n_judged": {"min": 2, "max": 6},
        "loss.margin": {"min": 0.1, "max": 0.5},
        "training.batch_size": {"distribution": "q_uniform", "min": 8, "max": 32, "q": 8},
        "loss.name": {"values": ["triplet", "weighted_triplet"]},
        "seed": {"value": 7},
    }
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, parameters, method="random")))
    few, many = (plan_trials(sweep, tmp_path, n_trials=n, seed=3) for n in (3, 14))
    assert [trial.values for trial in few] == [trial.values for trial in many[:3]]
    assert [t.values for t in few] != [t.values for t in plan_trials(sweep, tmp_path, n_trials=3, seed=4)]
    for trial in many:
        values = trial.values
        assert 1e-5 <= values["training.lr"] <= 1e-3
        assert values["search.n_judged"] in range(2, 7)
        assert 0.1 <= values["loss.margin"] <= 0.5
        assert values["training.batch_size"] % 8 == 0
        assert values["seed"] == 7
    logs = [math.log10(trial.values["training.lr"]) for trial in many]
    assert sum(log < -4 for log in logs) > 2, "as many below 1e-4 as above it, about"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"method": "bayes"}, "wandb agent"),
        ({"method": "gird"}, "grid"),
        ({"command": None}, "lmteach fit --recipe RECIPE"),
        ({"command": ["python", "train.py", "${args}"]}, "lmteach fit --recipe RECIPE"),
        ({"parameters": {"training": {"parameters": {"lr": {"values": [1]}}}}}, "dotted keys"),
        ({"parameters": {"training.lr": {"min": 0.1, "max": 0.2}}}, "no end of them"),
        (
            {"parameters": {"training.lr": {"distribution": "beta", "values": [1]}}},
            "'beta' is not drawn here",
        ),
        ({"parameters": {"training.lr": {"values": []}}}, "empty"),
        ({"parameters": {"training.lr": 3}}, "needs `value`"),
        ({"parameters": {"training.lr": {"min": 2, "max": 1}}}, "`min` below `max`"),
    ],
)
def test_what_cannot_be_run_here_is_said(
    changed: Mapping[str, Any], says: str, recipe_file: Path, tmp_path: Path
) -> None:
    others = {key: value for key, value in changed.items() if key != "parameters"}
    path = write_sweep(tmp_path, recipe_file, changed.get("parameters", GRID), **others)
    with pytest.raises(RecipeError) as caught:
        read_sweep(str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_wrong_key_stops_a_sweep_before_its_first_trial(recipe_file: Path, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, recipe_file, {"training.learningrate": {"values": [1, 2]}})
    with pytest.raises(RecipeError, match="learningrate"):
        plan_trials(read_sweep(str(path)), tmp_path)


def test_a_random_search_needs_a_number_of_trials(recipe_file: Path, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, recipe_file, GRID, method="random")
    with pytest.raises(RecipeError, match="no end of its own"):
        plan_trials(read_sweep(str(path)), tmp_path)
    path = write_sweep(tmp_path, recipe_file, GRID, method="random", run_cap=3)
    assert 1 <= len(plan_trials(read_sweep(str(path)), tmp_path)) <= 3


# What ships


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_agents_command_for_a_shipped_sweep_is_one_that_fit_takes(path: Path, tmp_path: Path) -> None:
    """The arguments as W&B's own code writes them, for each trial of the grid."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    plain = yaml.safe_load(path.read_text())
    sweep = read_sweep(path.name)
    trials = plan_trials(sweep, tmp_path)
    assert len(trials) > 1
    for trial in trials:
        made = create_sweep_command_args({"args": {k: {"value": v} for k, v in trial.values.items()}})
        command: list[str] = []
        for word in create_sweep_command(list(plain["command"])):
            known = {"${env}": ["/usr/bin/env"], "${program}": [plain["program"]]}
            command += made["args_no_hyphens"] if word == "${args_no_hyphens}" else known.get(word, [word])
        assert command[:3] == ["/usr/bin/env", "lmteach", "fit"]
        overrides = [word for word in command[3:] if "=" in word]
        by_agent = load_recipe(command[command.index("--recipe") + 1], overrides).recipe
        here = load_recipe(sweep.recipe, trial.overrides).recipe
        assert by_agent.tracking.wandb
        here.tracking.wandb, here.run.folder = True, ""
        assert by_agent == here


def test_there_are_three_shipped_sweeps() -> None:
    assert [path.stem for path in SHIPPED] == ["prompts", "shortlist", "teachers"]
    with pytest.raises(RecipeError, match=r"Did you mean 'teachers\.yaml'"):
        read_sweep("teacher")


def test_an_agents_trial_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert agent_folder() == ""
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert agent_folder() == "runs/sweeps/s1/r1"


# Running


def test_failed_trials_stop_nothing_and_come_last(recipe_file: Path, tmp_path: Path) -> None:
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, {"seed": {"values": [1, 2, 3]}})))
    trials = plan_trials(sweep, tmp_path / "trials")
    asked: list[str] = []

    def run(arguments: list[str]) -> int:
        folder = Path(next(a for a in arguments if a.startswith("run.folder=")).partition("=")[2])
        asked.append(folder.name)
        if folder == trials[1].folder:
            return 1
        p1 = 0.2 if folder == trials[0].folder else 0.7
        final = {"event": "final", "student": {"p@1": p1}, "judgements": 5, "from_store": 1, "seconds": 1.0}
        (folder / "metrics.jsonl").write_text(json.dumps(final) + "\n")
        return 0

    results = best_first(sweep, run_sweep(sweep, trials, run=run, say=lambda text: None))
    assert [r.trial.values["seed"] for r in results] == [3, 1, 2]
    assert [r.failed for r in results] == [False, False, True]
    asked.clear()
    again = run_sweep(sweep, trials, run=run, say=lambda text: None)
    assert asked == [trials[1].folder.name], "finished ones are not run again"
    assert [r.failed for r in again] == [False, True, False]
    kept = json.loads((trials[0].folder / "trial.json").read_text())
    assert kept == {"sweep": "mine", "values": {"seed": 1}}


def test_a_wrong_metric_names_the_nearest(recipe_file: Path, tmp_path: Path) -> None:
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, GRID, metric={"name": "test/p1"})))
    done = TrialResult(Trial({}, (), tmp_path), {"test/p@1": 0.5}, failed=False)
    with pytest.raises(LmteachError, match="Did you mean 'test/p@1'"):
        best_first(sweep, [done])


def test_a_trial_that_another_process_is_at_is_left_to_it_and_waited_for(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BUSY_SECONDS", 0.01)
    sweep = read_sweep(str(write_sweep(tmp_path, recipe_file, {"seed": {"values": [1, 2, 3]}})))
    trials = plan_trials(sweep, tmp_path / "trials")
    other = RunFolder(trials[0].folder)
    other.lock()
    ran: list[Path] = []

    def finish(folder: Path) -> None:
        (folder / "metrics.jsonl").write_text(json.dumps({"event": "final", "student": {"p@1": 0.5}}) + "\n")

    def run(arguments: list[str]) -> int:
        folder = Path(next(a for a in arguments if a.startswith("run.folder=")).partition("=")[2])
        ran.append(folder)
        finish(folder)
        if len(ran) == 2:  # the other process comes to its end a moment later
            threading.Timer(0.2, lambda: (finish(trials[0].folder), other.unlock())).start()
        return 0

    said: list[str] = []
    results = run_sweep(sweep, trials, run=run, say=said.append)
    assert ran == [trials[1].folder, trials[2].folder]
    assert [result.trial for result in results] == trials
    assert not any(result.failed for result in results)
    assert "another process is at it" in said[0]
    assert "finished already" in said[-1]


@pytest.mark.slow
def test_a_sweep_killed_at_any_moment_goes_on(
    recipe_file: Path, spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """kill -9 of the sweep and of the trial it was at, then the same command again."""
    path = write_sweep(tmp_path, recipe_file, {"loss.name": {"values": ["triplet", "weighted_triplet"]}})
    command = ("sweep", path, "--folder", tmp_path / "trials", "training.epochs=1")
    first, second = plan_trials(read_sweep(str(path)), tmp_path / "trials", overrides=["training.epochs=1"])
    process = spawn(*command, start_new_session=True)
    deadline = time.monotonic() + 200
    while not (second.folder / "recipe.yaml").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert first.finished
    assert not second.finished
    before = (first.folder / "metrics.jsonl").stat().st_mtime_ns
    out, err = spawn(*command).communicate(timeout=200)
    assert second.finished, err
    assert (first.folder / "metrics.jsonl").stat().st_mtime_ns == before
    assert "mine: 2 trials" in out
    assert "finished already" in err
