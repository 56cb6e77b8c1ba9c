"""A Ray cluster: one that runs already, or one on this machine for as long as it is needed; and its room for workers.

Ray is kept quiet and to itself: no usage statistics, no dashboard, none of its lines among ours.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmteach.engines.scratch import scratch_folder
from lmteach.errors import RunError, missing_package

if TYPE_CHECKING:
    from lmteach.engines.options import RayOptions

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its own words on standard output
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without GPUs sees none
}
OBJECTS = 200 * 2**20  # bytes of shared memory: only names of files and counts go from process to process
TEMPORARY = Path("/tmp")  # as short as Ray's own place: the path of a socket may have 107 characters


@dataclass(frozen=True)
class Machine:
    """What a machine of the cluster has."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """How work is divided: this many workers, with so many cores and GPUs each."""

    workers: int
    cpus: int
    gpus: float
    n_machines: int

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        where = "this machine" if self.n_machines == 1 else f"{self.n_machines} machines"
        return f"{self.workers} workers on {where}, {self.cpus} cores{gpus} each"


def load_ray() -> Any:
    """Import Ray and Ray Data.

    Raises:
        PluginError: they are not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_package(
            "ray[data]", needed_by="engine=ray", command='pip install "lmteach[ray]"'
        ) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray's compiled parts write at their start off standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def open_cluster(options: RayOptions) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine; part from it, or end it, afterwards.

    Raises:
        PluginError: Ray is not installed.
        RunError: the cluster cannot be reached, or has no room for the workers.
    """
    if options.address.startswith("ray://"):
        raise RunError(
            "Ray Client is not served: the verb itself must run on a machine of the cluster.",
            where="ray.address",
            mend="Start it there with ray.address=auto, or by `ray job submit`.",
        )
    ray = load_ray()
    with ExitStack() as stack:
        folder = None if options.address else stack.enter_context(scratch_folder(TEMPORARY, "lmteach-ray-"))
        stack.callback(ray.shutdown)
        with _hushed():
            if folder is None:
                _connect(ray, options.address)
            else:
                _start(ray, options, folder)
        machines = [
            Machine(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in ray.nodes()
            if node["Alive"]
        ]
        yield plan_workers(options, machines)


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RunError(
            f"The Ray cluster cannot be joined: {_first_line(error)}",
            where=f"ray.address={address}",
            mend="`ray status` on that machine says whether it runs; this one must be part of it, with the same "
            "versions of Python and Ray.",
        ) from error


def _start(ray: Any, options: RayOptions, folder: Path) -> None:
    """Start a cluster on this machine that keeps its logs and sockets in a folder."""
    cores = max(os.cpu_count() or 1, (options.workers or 1) * (options.cpus or 1))
    try:
        ray.init(
            address="local",
            num_cpus=cores,
            object_store_memory=OBJECTS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(folder),
        )
    except Exception as error:
        raise RunError(
            f"Ray cannot be started on this machine: {_first_line(error)}", where="engine=ray"
        ) from error


def plan_workers(options: RayOptions, machines: Sequence[Machine]) -> Cluster:
    """Return how many workers there are and what each has, from what is asked and what is there.

    Raises:
        RunError: the cluster has no room for them, now or ever.
    """
    able = [m for m in machines if m.cpus >= 1]  # a head that is kept free of work has none
    n_gpus = int(sum(m.gpus for m in able))
    gpus = options.gpus if options.gpus is not None else float(n_gpus > 0)
    n = options.workers or (int(sum(m.gpus // gpus for m in able)) if gpus else len(able))
    n_each = -(-max(n, 1) // max(len(able), 1))  # workers of a machine, where they are divided evenly
    cpus = options.cpus or max(1, int(min((m.cpus for m in able), default=0)) // n_each)
    room = sum(int(min(m.cpus // cpus, m.gpus // gpus if gpus else m.cpus)) for m in able)
    if room < max(n, 1):
        has = ", ".join(f"{m.cpus:g} cores and {m.gpus:g} GPUs" for m in machines)
        raise RunError(
            f"{n} workers of {cpus} cores and {gpus:g} GPUs each do not fit: there is room for {room} ({has}).",
            where="ray.workers",
            mend="Ask for fewer, or for less for each: ray.workers, ray.cpus, ray.gpus.",
        )
    return Cluster(n, cpus, gpus, len(machines))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
