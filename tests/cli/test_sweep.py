"""`lmteach sweep` from end to end, on a teacher that writes down what it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach.cli import sweep as verb


def test_a_sweep_from_end_to_end_pays_for_each_pair_once(
    bench: Any, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two trials by `lmteach sweep`, one of them cut off before; every judgement of training documents asked once."""
    from lmteach.cli.main import main

    runs: list[list[str]] = []

    def here(arguments: list[str]) -> int:
        runs.append(arguments)
        return 130 if len(runs) == 2 else main([*arguments])

    monkeypatch.setattr(verb, "_run_lmteach", here)
    path = tmp_path / "sweep.yaml"
    plain = {
        "name": "losses",
        "method": "grid",
        "metric": {"name": "test/p@1", "goal": "maximize"},
        "parameters": {"loss.name": {"values": ["triplet", "weighted_triplet"]}},
        "command": [
            "lmteach",
            "fit",
            "--recipe",
            str(bench.recipe),
            "corpus.n_train=40",
            "${args_no_hyphens}",
        ],
    }
    path.write_text(yaml.safe_dump(plain))
    folder = tmp_path / "trials"
    arguments = ("sweep", path, "--folder", folder, "training.epochs=1", "--json", tmp_path / "all.json")
    status, _, err = call(*arguments)
    assert status == 130, "Ctrl-C in a trial ends the sweep"
    assert "Stopped" in err
    status, out, err = call(*arguments)
    assert status == 0, err
    assert len(runs) == 3, "the finished trial was not run again"
    assert "finished already" in err
    results = json.loads((tmp_path / "all.json").read_text())
    assert {r["values"]["loss.name"] for r in results} == {"triplet", "weighted_triplet"}
    assert results[0]["numbers"]["test/p@1"] >= results[1]["numbers"]["test/p@1"]
    stored = sum(r["numbers"]["from_store"] for r in results)
    made = sum(r["numbers"]["judgements"] for r in results)
    assert stored >= 200, "the second trial's 40 x 5 training pairs came from the store"
    asked = bench.asked()
    assert len(asked) == len(set(asked)) == made
    assert f"{made:,} judgements were made and {stored:,} taken from the store" in out


def test_a_trial_that_an_agent_starts_has_its_own_folder_and_the_recipes_store(
    bench: Any, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    quick = ("training.epochs=1", "corpus.n_train=30", "run.folder=")
    status, _, err = call("fit", "--resume", "--recipe", bench.recipe, *quick, "search.n_judged=2")
    assert status == 0, err
    assert (tmp_path / "runs/sweeps/s1/r1/student").is_dir()
    n_asked = len(bench.asked())
    monkeypatch.setenv("WANDB_RUN_ID", "r2")
    status, _, err = call("fit", "--resume", "--recipe", bench.recipe, *quick, "search.n_judged=3")
    assert status == 0, err
    asked = bench.asked()
    assert len(asked) == len(set(asked)), "no agent pays for what another one asked"
    assert len(asked) - n_asked <= 30 + 2 * 20, (
        "one more candidate of each document, and dev by another student"
    )


def test_shipped_sweeps_are_listed_with_what_they_ask(call: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = call("recipes")
    listed = out.partition("for `lmteach sweep`:")[2].split("\n")
    assert any(line.startswith("teachers.yaml ") and line.endswith(".") for line in listed)
    for name in ("teachers.yaml", "prompts", "shortlist"):
        status, said, err = call("sweep", name, "--list")
        assert status == 0, err
        assert "to do" in said
