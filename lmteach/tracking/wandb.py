"""Weights & Biases: the resolved recipe, metrics, tables and artifacts of a run. Nothing is ever asked.

Sent only where a recipe says `tracking.wandb: true`; without a key it stays offline, in the run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmteach.errors import missing_package
from lmteach.tracking.run_folder import read_json, write_json
from lmteach.tracking.trackers import Artifact, Cell, TrackedRun

KEPT = "wandb.json"  # in the run folder: which W&B run this is, so that --resume goes on with it
INIT_SECONDS = 30.0  # that a server may take to answer; then the run goes on without it
AXES = ("cycle", "stage", "trainer/global_step")


class WandbTracker:
    """One W&B run beside one run folder.

    Args:
        project: of W&B.
        entity: a user or team; "" = the key's own.
        group: puts runs together; "" = none.
        say: tells the user that there is no key.
    """

    name = "wandb"

    def __init__(self, project: str, entity: str, group: str, say: Callable[[str], None]) -> None:
        self.project, self.entity, self.group, self.say = project, entity, group, say
        self.run: Any = None

    def start(self, run: TrackedRun) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_package("wandb", needed_by="tracking.wandb", command="pip install wandb") from error
        mode: Any = os.environ.get("WANDB_MODE") or self._mode(wandb)
        kept = run.folder / KEPT
        id_ = read_json(kept)["id"] if kept.is_file() else os.environ.get("WANDB_RUN_ID") or _new_id()
        timeout = float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS)
        self.run = wandb.init(
            project=self.project,
            entity=self.entity or None,
            group=self.group or None,
            name=run.name,
            id=id_,
            resume="allow",
            mode=mode,
            dir=str(run.folder),
            config=_plain(run.recipe),
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, init_timeout=timeout
            ),
        )
        url = "" if self.run.offline else self.run.url or ""
        write_json(kept, {"id": self.run.id, "project": self.project, "url": url})
        for axis in AXES:
            self.run.define_metric(axis)
        for axis in AXES[:2]:
            self.run.define_metric(f"{axis}/*", step_metric=axis)

    def _mode(self, wandb: Any) -> str:
        if wandb.login(prompt=False):
            return "online"
        self.say(
            "tracking by wandb: there is no key, so it is kept offline in the run's folder; "
            "`wandb login`, then `wandb sync`, sends it"
        )
        return "offline"

    def metrics(self, values: Mapping[str, float], axis: str, at: int) -> None:
        self.run.log({axis: at, **{f"{axis}/{name}": value for name, value in values.items()}})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self.run.log({name: table})

    def artifact(self, artifact: Artifact) -> None:
        """Log files as this run's output; what they were made from stands in their metadata."""
        import wandb

        about = {"run": str(self.run.id), "made_from": list(artifact.made_from), **artifact.about}
        made = wandb.Artifact(_name(self.run.id, artifact.name), artifact.kind, metadata=_plain(about))
        for path in artifact.paths:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    made.add_file(str(file), name=str(file.relative_to(path.parent)))
        self.run.log_artifact(made)

    def summary(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self.run.summary[name] = value

    def training_logger(self, part: str) -> Any:
        from lightning.pytorch.loggers import WandbLogger

        # Each training counts its steps from 0, so each has names of its own: `cycle-00-loss`.
        self.run.define_metric(f"{part}-*", step_metric="trainer/global_step")
        return WandbLogger(experiment=self.run, prefix=part)

    def finish(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


def _new_id() -> str:
    import secrets

    return secrets.token_hex(4)


def _name(run_id: str, name: str) -> str:
    return f"{run_id}-{name}".replace("/", "-").replace(" ", "-")


def _plain(value: Any) -> Any:
    """Return nested values with plain containers: W&B cannot show others, and checkpoints cannot load them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)
