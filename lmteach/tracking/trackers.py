"""Where a run's figures go besides its own folder. A tracker that breaks is one warning, never a stopped run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lmteach.recipe.schema import TrackingSection

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run at its start; `recipe` is plain nested values."""

    folder: Path
    name: str
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Artifact:
    """Files that a run made, and the names of the artifacts they were made from."""

    name: str
    kind: str
    paths: Sequence[Path]
    made_from: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """One place that figures go to. Methods may raise: `Trackers` catches it.

    `metrics` are values at a step of an axis, `cycle` say; `summary` says how the run ended.
    `training_logger` returns one of Lightning's loggers for a part of the run, or None.
    """

    name: str

    def start(self, run: TrackedRun) -> None: ...
    def metrics(self, values: Mapping[str, float], axis: str, at: int) -> None: ...
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None: ...
    def artifact(self, artifact: Artifact) -> None: ...
    def summary(self, values: Mapping[str, Any]) -> None: ...
    def training_logger(self, part: str) -> Any: ...
    def finish(self, failed: bool) -> None: ...


class Trackers:
    """All trackers of a run as one.

    Args:
        trackers: the places that figures go to.
        say: shows a warning.
        table_rows: rows that a table is cut to; 0 = no tables are wanted.
        artifacts: whether files are wanted.
    """

    def __init__(
        self,
        trackers: Sequence[Tracker] = (),
        say: Callable[[str], None] = print,
        *,
        table_rows: int = 0,
        artifacts: bool = False,
    ) -> None:
        self._live, self._say = list(trackers), say
        self.table_rows, self._artifacts = table_rows, artifacts

    def __bool__(self) -> bool:
        return bool(self._live)

    @property
    def wants_tables(self) -> bool:
        """Whether anything would show a table."""
        return bool(self._live) and self.table_rows > 0

    def start(self, run: TrackedRun) -> None:
        """Begin, or go on with, a run."""
        self._each(lambda tracker: tracker.start(run))

    def metrics(self, values: Mapping[str, Any], axis: str, at: int) -> None:
        """Record the numbers among `values` at a step of an axis; what is no number is left out."""
        numbers = {name: float(value) for name, value in values.items() if _is_number(value)}
        self._each(lambda tracker: tracker.metrics(numbers, axis, at))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table, cut to `table_rows`."""
        if self.wants_tables:
            self._each(lambda tracker: tracker.table(name, columns, rows[: self.table_rows]))

    def artifact(self, artifact: Artifact) -> None:
        """Keep files, as far as they are there."""
        there = [path for path in artifact.paths if path.exists()]
        if self._artifacts and there:
            kept = Artifact(artifact.name, artifact.kind, there, artifact.made_from, artifact.about)
            self._each(lambda tracker: tracker.artifact(kept))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Say how the run ended."""
        self._each(lambda tracker: tracker.summary(values))

    def training_loggers(self, part: str) -> list[Any]:
        """Return Lightning's loggers for one `Trainer.fit`, each of them guarded too."""
        loggers: list[Any] = []
        self._each(lambda tracker: loggers.append((tracker, tracker.training_logger(part))))
        found = [(tracker, logger) for tracker, logger in loggers if logger is not None]
        if not found:
            return []
        from lmteach.tracking.loggers import GuardedLogger

        return [
            GuardedLogger(logger, lambda error, tracker=tracker: self._drop(tracker, error))  # type: ignore[misc]
            for tracker, logger in found
        ]

    def finish(self, failed: bool = False) -> None:
        """Close all trackers."""
        self._each(lambda tracker: tracker.finish(failed))
        self._live = []

    def _each(self, call: Callable[[Tracker], object]) -> None:
        for tracker in list(self._live):
            try:
                call(tracker)
            except Exception as error:  # whatever a tracker trips over, the run matters more
                self._drop(tracker, error)

    def _drop(self, tracker: Tracker, error: BaseException) -> None:
        if tracker in self._live:
            self._live.remove(tracker)
            text = " ".join(str(error).split())[:300]
            self._say(f"tracking by {tracker.name} is off from here on: {type(error).__name__}: {text}")


def open_trackers(section: TrackingSection, run: TrackedRun, say: Callable[[str], None] = print) -> Trackers:
    """Return a recipe's trackers, started; on other ranks than the first none, since one speaks for all."""
    if process_rank() != 0:
        return Trackers()
    found: list[Tracker] = []
    if section.wandb:
        from lmteach.tracking.wandb import WandbTracker

        found.append(WandbTracker(section.project, section.entity, section.group, say))
    if section.csv:
        from lmteach.tracking.files import CsvTracker

        found.append(CsvTracker())
    if section.tensorboard:
        from lmteach.tracking.files import TensorBoardTracker

        found.append(TensorBoardTracker())
    trackers = Trackers(found, say, table_rows=section.table_rows, artifacts=section.artifacts)
    trackers.start(run)
    return trackers


def process_rank() -> int:
    """Return this process's place among those of a distributed run, as launchers tell it; 0 where there are none."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        value = os.environ.get(name, "")
        if value.isdigit() and (name != "SLURM_PROCID" or "SLURM_NTASKS" in os.environ):
            return int(value)
    return 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
