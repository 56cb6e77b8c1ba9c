"""`engine=ray ray.workers=2`: the words of a command line that say where its work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmteach.engines.local import LocalEngine
from lmteach.errors import LmteachError, nearest_name

if TYPE_CHECKING:
    from lmteach.engines.protocol import Engine
    from lmteach.tracking.console import Console

NAMES = ("local", "ray")


@dataclass(frozen=True)
class RayOptions:
    """How many workers, and where. None = as the cluster has it; see `cluster.Cluster`.

    Attributes:
        workers: how many; None = one a GPU, or one a machine where there are none.
        cpus: cores of a worker; None = its machine's, shared evenly.
        gpus: GPUs of a worker, also 0.5; None = one, where there are any.
        address: `HOST:PORT` of a cluster, or `auto` for the one this machine is part of; empty = a cluster on
            this machine alone, for as long as the work takes.
    """

    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    address: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """The engine's name, and what it is told."""

    name: str = "local"
    ray: RayOptions = RayOptions()


def take_options(overrides: Sequence[str]) -> tuple[EngineOptions, list[str]]:
    """Split `key=value` texts into what they say of the engine, and the others.

    Raises:
        LmteachError: an unknown engine or key, or a value that makes no sense.
    """
    name, given, rest = "local", {}, []
    for text in overrides:
        key, _, value = text.lstrip("-").partition("=")
        if key == "engine":
            name = value
        elif key.startswith("ray."):
            given[key.removeprefix("ray.")] = value
        else:
            rest.append(text)
    if name not in NAMES:
        raise LmteachError(
            f"There is no engine '{name}'; there are {' and '.join(NAMES)}.",
            nearest=nearest_name(name, NAMES),
            where="engine",
        )
    if given and name != "ray":
        raise LmteachError(
            "Only the engine ray takes this.", where=f"ray.{next(iter(given))}", mend="Add engine=ray."
        )
    return EngineOptions(name, _ray_options(given)), rest


def _ray_options(given: dict[str, str]) -> RayOptions:
    known = [f.name for f in dataclasses.fields(RayOptions)]
    found: dict[str, int | float | str] = {}
    for key, text in given.items():
        if key not in known:
            near = nearest_name(key, known)
            raise LmteachError(
                f"There is no 'ray.{key}'; there are {', '.join(f'ray.{k}' for k in known)}.",
                nearest=None if near is None else f"ray.{near}",
            )
        found[key] = text if key == "address" else _number(key, text)
    return RayOptions(**found)  # type: ignore[arg-type]


def _number(key: str, text: str) -> int | float:
    try:
        number = float(text) if key == "gpus" else int(text)
    except ValueError:
        number = -1
    least = 0 if key == "gpus" else 1
    if not least <= number < float("inf"):  # NaN neither
        what = "0 or more" if key == "gpus" else "a whole number, 1 or more"
        raise LmteachError(f"This is '{text}'; it must be {what}.", where=f"ray.{key}")
    return number


@contextmanager
def open_engine(options: EngineOptions, console: Console) -> Iterator[Engine]:
    """Open the engine, a cluster too where it needs one, and end it afterwards.

    Raises:
        PluginError: Ray is not installed.
        RunError: the cluster cannot be reached or has no room for the workers.
    """
    if options.name == "local":
        yield LocalEngine()
        return
    from lmteach.engines.cluster import open_cluster
    from lmteach.engines.ray_engine import RayEngine

    with open_cluster(options.ray) as cluster:
        console.say(f"ray: {cluster}")
        yield RayEngine(cluster, console)
