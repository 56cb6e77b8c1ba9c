"""A run in W&B's offline mode, read back from its own file; and nothing at all where nobody asked for it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach.curriculum.cycles import fit
from lmteach.recipe.load import load_recipe
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("own_cache", "no_wandb")

QUICK = (
    "training.epochs=1",
    "training.batch_size=4",
    "corpus.n_train=40",
    "search.n_judged=4",
    "tracking.table_rows=7",
)


@pytest.fixture(scope="module")
def offline(
    desk_recipe: Mapping[str, Any], cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run that was tracked offline: its folder. Look, do not touch."""
    folder = tmp_path_factory.mktemp("offline")
    run = {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**desk_recipe, "run": run}))
    overrides = [*QUICK, "tracking.wandb=true", "tracking.project=desks"]
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(folder / "recipe.yaml"), overrides).recipe, Console(quiet=True))
    return folder / "run"


def only_run(folder: Path) -> Path:
    [path] = (folder / "wandb").glob("offline-run-*/*.wandb")
    return path


def test_an_offline_run_holds_recipe_metrics_tables_and_artifacts(
    offline: Path, read_offline: Callable[[Path], Any]
) -> None:
    run = read_offline(only_run(offline))
    assert run.project == "desks"
    assert run.exit_code == 0
    assert run.config["teacher"]["name"] == "oracle"
    assert run.config["search"] == {**run.config["search"], "n_judged": 4}
    assert run.config["student"]["encoder"]["document_length"] == 40, "nested values, not text"
    events = RunFolder(offline).events()
    [cycle] = [row for row in run.history if "cycle/dev_p1" in row]
    assert cycle["cycle"] == 0
    assert cycle["cycle/dev_p1"] == events[0]["dev_p1"]
    assert cycle["cycle/judgements"] == events[0]["judgements"]
    losses = [row["cycle-00-loss"] for row in run.history if "cycle-00-loss" in row]
    assert losses, "the training loss comes through Lightning's logger"
    assert run.summary["test/p@1"] == events[-1]["student"]["p@1"]
    assert run.summary["untuned/p@1"] == events[-1]["untuned"]["p@1"]
    kinds = {name.partition("-")[2]: a.type for name, a in run.artifacts.items() if a.type != "run_table"}
    assert kinds == {
        "shortlist-cycle-00": "shortlist",
        "annotations-cycle-00": "annotations",
        "student": "student",
    }


def test_artifacts_name_their_files_and_what_they_were_made_from(
    offline: Path, read_offline: Callable[[Path], Any]
) -> None:
    run = read_offline(only_run(offline))
    about = {name.partition("-")[2]: json.loads(a.metadata or "{}") for name, a in run.artifacts.items()}
    assert about["annotations-cycle-00"]["made_from"] == ["shortlist-cycle-00"]
    assert about["student"]["made_from"] == ["annotations-cycle-00"]
    assert (
        about["shortlist-cycle-00"]["corpus"] == json.loads((offline / "manifest.json").read_text())["corpus"]
    )
    files = {
        entry.path for a in run.artifacts.values() if a.type == "annotations" for entry in a.manifest.contents
    }
    assert files == {"verdicts.npz", "annotations.npz"}


def test_tables_show_verdicts_and_are_cut(offline: Path) -> None:
    [path] = (only_run(offline).parent / "files/media/table").rglob("shortlist*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["document", "text", "place", "label", "cosine", "verdict", "said", "gold"]
    assert len(table["data"]) == 7
    for row in table["data"]:
        cells = dict(zip(table["columns"], row, strict=True))
        assert cells["said"] == ("yes" if cells["gold"] else "no"), "the oracle says what gold says"
        assert cells["label"].startswith("desk ")


def test_a_resumed_run_keeps_its_id_and_tells_nothing_twice(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, read_offline: Callable[[Path], Any]
) -> None:
    from lmteach.curriculum import cycles

    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = load_recipe(str(recipe_file), [*QUICK, "tracking.wandb=true"]).recipe

    def failing(*args: Any) -> dict[str, Any]:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(cycles, "finish_run", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(recipe, Console(quiet=True))
    folder = recipe_file.parent / "run"
    first = only_run(folder)
    fit(recipe, Console(quiet=True), resume=True)
    second = next(path for path in (folder / "wandb").glob("offline-run-*/*.wandb") if path != first)
    before, after = read_offline(first), read_offline(second)
    assert before.id == after.id == json.loads((folder / "wandb.json").read_text())["id"]
    assert (before.exit_code, after.exit_code) == (1, 0)
    told = [row for run in (before, after) for row in run.history if "cycle/dev_p1" in row]
    assert len(told) == 1
    assert "test/p@1" in after.summary
    assert "test/p@1" not in before.summary


def test_an_agents_trial_keeps_the_id_that_it_was_given(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, read_offline: Callable[[Path], Any]
) -> None:
    from lmteach.tracking.trackers import TrackedRun
    from lmteach.tracking.wandb import WandbTracker

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    tracker = WandbTracker("p", "", "", print)
    tracker.start(TrackedRun(recipe_file.parent, "trial", {"teacher": {"name": "oracle"}}))
    tracker.finish(failed=False)
    assert read_offline(only_run(recipe_file.parent)).id == "fromagent"


def test_without_a_key_it_stays_offline_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmteach.tracking.trackers import TrackedRun
    from lmteach.tracking.wandb import WandbTracker

    def no_network(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was to be sent")

    monkeypatch.setattr("builtins.input", no_network)
    said: list[str] = []
    tracker = WandbTracker("p", "", "", said.append)
    tracker.start(TrackedRun(tmp_path, "x", {}))
    tracker.finish(failed=False)
    assert only_run(tmp_path).is_file()
    assert "no key" in said[0]


def test_without_the_flag_wandb_is_not_even_imported(
    recipe_file: Path, desk_recipe: Mapping[str, Any], spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """With a key in the environment: a key alone is no leave to send."""
    watch = tmp_path / "sitecustomize.py"
    watch.write_text(
        "import atexit, sys\n"
        f"atexit.register(lambda: open({str(tmp_path / 'modules')!r}, 'w').write(' '.join(sys.modules)))\n"
    )
    process = spawn(
        "fit",
        "--recipe",
        recipe_file,
        *QUICK,
        "--quiet",
        env={"PYTHONPATH": str(tmp_path), "WANDB_API_KEY": "k" * 40},
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    modules = (tmp_path / "modules").read_text().split()
    assert "lmteach.curriculum.cycles" in modules
    assert "lmteach.tracking.wandb" not in modules
    assert not (recipe_file.parent / "run" / "wandb").exists()


def test_a_server_that_cannot_be_reached_is_one_warning(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    monkeypatch.setattr(sys, "stdin", None)
    recipe = load_recipe(str(recipe_file), [*QUICK, "tracking.wandb=true"]).recipe
    final = fit(recipe, Console())
    assert 0 <= final["student"]["p@1"] <= 1
    warnings = [line for line in capsys.readouterr().err.splitlines() if "tracking by wandb is off" in line]
    assert len(warnings) == 1


@pytest.mark.slow
def test_a_trial_of_two_ranks_is_one_run_with_one_voice_and_one_config(
    recipe_file: Path, spawn: Callable[..., Any], read_offline: Callable[[Path], Any]
) -> None:
    """As an agent starts it: values on the command line, which must reach every rank."""
    ranks = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
    trial = ("search.n_judged=3", "training.batch_size=8", "tracking.wandb=true")
    process = spawn(
        "fit", "--resume", "--recipe", recipe_file, "training.epochs=1", *ranks, *trial,
        env={"WANDB_MODE": "offline", "WANDB_RUN_ID": "trial1"},
    )  # fmt: skip
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    folder = recipe_file.parent / "run"
    run = read_offline(only_run(folder))
    assert run.id == "trial1"
    assert run.config["search"]["n_judged"] == 3
    final = RunFolder(folder).events()[-1]
    assert final["judgements"] == 100 * 3 + 20 * 2, "both ranks asked about three candidates a document"
    assert len([row for row in run.history if "cycle/dev_p1" in row]) == 1
    assert out.count("held-out documents") == 1
    assert err.count("best: cycle 0") == 1
