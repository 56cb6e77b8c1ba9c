"""Trackers under guard, and those that write files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmteach.curriculum.cycles import fit
from lmteach.errors import RunError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import TrackingSection
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder
from lmteach.tracking.trackers import Artifact, TrackedRun, Trackers, open_trackers, process_rank

QUICK = ("training.epochs=1", "training.batch_size=4", "corpus.n_train=40", "search.n_judged=4")


class Noting:
    """A tracker that writes down what it is told, and breaks where it is told to."""

    name = "noting"

    def __init__(self, breaks: str = "") -> None:
        self.breaks, self.told = breaks, []

    def _note(self, what: str, *said: Any) -> None:
        self.told.append((what, *said))
        if what == self.breaks:
            raise OSError(28, "No space left on device")

    def start(self, run: TrackedRun) -> None:
        self._note("start", run.name)

    def metrics(self, values: Mapping[str, float], axis: str, at: int) -> None:
        self._note("metrics", dict(values), axis, at)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._note("table", name, len(rows))

    def artifact(self, artifact: Artifact) -> None:
        self._note("artifact", artifact.name, [path.name for path in artifact.paths])

    def summary(self, values: Mapping[str, Any]) -> None:
        self._note("summary", dict(values))

    def training_logger(self, part: str) -> Any:
        self._note("training_logger", part)

    def finish(self, failed: bool) -> None:
        self._note("finish", failed)


@pytest.mark.parametrize(
    "where", ["start", "metrics", "table", "artifact", "summary", "training_logger", "finish"]
)
def test_a_tracker_that_breaks_anywhere_is_one_warning_and_the_other_goes_on(
    where: str, tmp_path: Path
) -> None:
    broken, sound, said = Noting(where), Noting(), []
    trackers = Trackers([broken, sound], said.append, table_rows=5, artifacts=True)
    for _ in range(2):
        trackers.start(TrackedRun(tmp_path, "r", {}))
        trackers.metrics({"a": 1}, "cycle", 0)
        trackers.table("t", ["a"], [[1]])
        trackers.artifact(Artifact("x", "k", [tmp_path]))
        trackers.summary({"b": 2})
        assert trackers.training_loggers("part") == []
    trackers.finish()
    assert len(said) == 1
    assert "noting" in said[0]
    assert "No space left" in said[0]
    assert broken.told[-1][0] == where
    assert len(sound.told) == 13, "told all, twice, and the end"


def test_numbers_are_told_tables_cut_and_missing_files_left_out(tmp_path: Path) -> None:
    tracker = Noting()
    trackers = Trackers([tracker], table_rows=2, artifacts=True)
    trackers.metrics({"n": 3, "yes": True, "none": None, "nan": float("nan"), "text": "x"}, "cycle", 1)
    trackers.table("t", ["a"], [[1], [2], [3]])
    trackers.artifact(Artifact("gone", "k", [tmp_path / "gone"]))
    (tmp_path / "here").touch()
    trackers.artifact(Artifact("half", "k", [tmp_path / "gone", tmp_path / "here"]))
    assert tracker.told == [
        ("metrics", {"n": 3.0}, "cycle", 1),
        ("table", "t", 2),
        ("artifact", "half", ["here"]),
    ]


def test_without_leave_there_are_no_tables_and_files(tmp_path: Path) -> None:
    tracker = Noting()
    trackers = Trackers([tracker])
    trackers.table("t", ["a"], [[1]])
    trackers.artifact(Artifact("here", "k", [tmp_path]))
    assert not tracker.told
    assert not trackers.wants_tables


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),
        ({"RANK": "0", "LOCAL_RANK": "1"}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2),
        ({"SLURM_PROCID": "2"}, 0),
    ],
)
def test_one_rank_tracks(
    variables: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == rank
    assert bool(open_trackers(TrackingSection(), TrackedRun(tmp_path, "r", {}))) is (rank == 0)


@pytest.fixture(scope="module")
def tracked(
    desk_recipe: Mapping[str, Any], cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run with CSV and TensorBoard: its folder."""
    import yaml

    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("tracked")
    run = {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**desk_recipe, "run": run}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        overrides = [*QUICK, "tracking.tensorboard=true", "tracking.table_rows=5", "teacher.noise=0.3"]
        fit(load_recipe(str(folder / "recipe.yaml"), overrides).recipe, Console(quiet=True))
    return folder / "run"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_each_cycle_the_loss_and_the_shortlists(tracked: Path) -> None:
    [cycle] = read_csv(tracked / "tracking" / "cycle.csv")
    event = RunFolder(tracked).events()[0]
    assert float(cycle["dev_p1"]) == event["dev_p1"]
    assert float(cycle["positives"]) == event["positives"]
    losses = read_csv(tracked / "tracking/training/cycle-00/metrics.csv")
    assert losses
    assert all(float(row["loss"]) >= 0 for row in losses)
    assert len(read_csv(tracked / "tracking" / "cycle-00_shortlist.csv")) == 5


def test_tensorboard_reads_what_was_written(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked / "tensorboard"))
    events.Reload()
    logged = RunFolder(tracked).events()[0]
    [point] = events.Scalars("cycle/dev_p1")
    assert point.value == pytest.approx(logged["dev_p1"])
    training = EventAccumulator(str(tracked / "tensorboard/training/cycle-00"))
    training.Reload()
    assert training.Scalars("loss")


def test_a_cycle_that_is_told_again_takes_its_own_line(tmp_path: Path) -> None:
    from lmteach.tracking.files import CsvTracker

    tracker = CsvTracker()
    tracker.start(TrackedRun(tmp_path, "r", {}))
    tracker.metrics({"a": 1.0}, "cycle", 0)
    tracker.metrics({"a": 2.0, "b": 5.0}, "cycle", 1)
    tracker.metrics({"a": 3.0}, "cycle", 0)
    rows = {row["cycle"]: row for row in read_csv(tmp_path / "tracking" / "cycle.csv")}
    assert rows == {"0": {"cycle": "0", "a": "3.0", "b": ""}, "1": {"cycle": "1", "a": "2.0", "b": "5.0"}}


def test_a_logger_that_fails_in_training_ends_no_training(
    recipe_file: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning.pytorch.loggers import CSVLogger

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CSVLogger, "log_metrics", full)
    final = fit(load_recipe(str(recipe_file), QUICK).recipe, Console())
    assert "student" in final
    warned = [line for line in capsys.readouterr().err.splitlines() if "tracking by csv is off" in line]
    assert len(warned) == 1
    assert not (recipe_file.parent / "run" / "told.json").exists(), "nobody was left to tell"


def test_without_trackers_training_leaves_no_logs_of_lightnings_own() -> None:
    from lmteach.curriculum.training import quiet_trainer
    from lmteach.recipe.schema import Recipe, TrainerSection

    assert quiet_trainer(Recipe(trainer=TrainerSection(accelerator="cpu")), [], []).logger is None


def test_a_resumed_run_may_be_tracked_otherwise(tracked: Path, own_cache: Path) -> None:
    recipe = str(tracked / "recipe.yaml")
    final = fit(load_recipe(recipe, ["tracking.csv=false"]).recipe, Console(quiet=True), resume=True)
    assert final["event"] == "final"
    with pytest.raises(RunError, match=r"loss\.margin was"):
        fit(load_recipe(recipe, ["loss.margin=0.5"]).recipe, Console(quiet=True), resume=True)


def test_the_loss_is_logged_at_every_step_of_a_short_training(tracked: Path) -> None:
    n_steps = int(RunFolder(tracked).events()[0]["steps"])
    losses = read_csv(tracked / "tracking/training/cycle-00/metrics.csv")
    assert [int(row["step"]) for row in losses] == list(range(n_steps))


def test_disagreements_with_gold_are_shown_evenly_by_kind(tracked: Path) -> None:
    rows = read_csv(tracked / "tracking" / "cycle-00_disagreements.csv")
    assert len(rows) == 5
    for row in rows:
        said, gold = {"yes, not gold": ("yes", "False"), "gold, not yes": ("no", "True")}[row["kind"]]
        assert (row["said"], row["gold"]) == (said, gold)
        assert row["text"].startswith("A note on")
    assert {row["kind"] for row in rows} == {"yes, not gold", "gold, not yes"}
