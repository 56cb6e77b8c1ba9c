"""Trackers that write files into the run folder: CSV, TensorBoard."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmteach.errors import missing_package
from lmteach.tracking.trackers import Artifact, Cell, TrackedRun


class CsvTracker:
    """`tracking/AXIS.csv` with a line a step and a column a metric, and Lightning's CSV of each training."""

    name = "csv"

    def __init__(self) -> None:
        self.folder = Path()
        self._columns: dict[str, list[str]] = {}

    def start(self, run: TrackedRun) -> None:
        self.folder = run.folder / "tracking"
        self.folder.mkdir(parents=True, exist_ok=True)

    def metrics(self, values: Mapping[str, float], axis: str, at: int) -> None:
        path = self.folder / f"{axis}.csv"
        rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row.get(axis) != str(at)]
        rows.append({axis: at, **values})
        columns = list(dict.fromkeys(key for row in rows for key in row))
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        path = self.folder / f"{name.replace('/', '_')}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])

    def artifact(self, artifact: Artifact) -> None:
        """Do nothing: the files lie in the run folder."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing: it is the last line of metrics.jsonl."""

    def training_logger(self, part: str) -> Any:
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger(self.folder, name="training", version=part)

    def finish(self, failed: bool) -> None:
        pass


class TensorBoardTracker:
    """Event files under `tensorboard/`: `tensorboard --logdir RUN` shows them."""

    name = "tensorboard"

    def __init__(self) -> None:
        self.folder = Path()
        self._writer: Any = None

    def start(self, run: TrackedRun) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_package(
                "tensorboard", needed_by="tracking.tensorboard", command="pip install 'lmteach[tensorboard]'"
            ) from error
        self.folder = run.folder / "tensorboard"
        self._writer = SummaryWriter(str(self.folder))
        self._writer.add_text("recipe", f"```\n{json.dumps(run.recipe, indent=2)}\n```")

    def metrics(self, values: Mapping[str, float], axis: str, at: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{axis}/{name}", value, at)
        self._writer.flush()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(_plain_cell(cell) for cell in line) + " |" for line in lines)
        self._writer.add_text(name, text)

    def artifact(self, artifact: Artifact) -> None:
        """Do nothing: the files lie in the run folder."""

    def summary(self, values: Mapping[str, Any]) -> None:
        self._writer.add_text("summary", f"```\n{json.dumps(values, indent=2)}\n```")

    def training_logger(self, part: str) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(self.folder, name="training", version=part)

    def finish(self, failed: bool) -> None:
        self._writer.close()


def _plain_cell(cell: Cell) -> str:
    return " ".join(str(cell).replace("|", "/").split())
