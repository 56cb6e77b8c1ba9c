"""Processes become the ranks of a run: found in the environment, or started here, and parted again at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from lmteach.curriculum.ranks import LOST_MEND, Ranks
from lmteach.curriculum.watch import GRACE, JOINING, Listener, connect, this_process
from lmteach.errors import LmteachError, RecipeError, RunError
from lmteach.recipe.schema import Recipe, TrainerSection

SCRATCH = ".ranks"  # in the run folder


@dataclass(frozen=True)
class Place:
    """One process's place among those of a run, and where they meet.

    `hosted`: the launcher keeps the store at `port`; else the first rank does.
    """

    rank: int
    local_rank: int
    n: int
    address: str
    port: int
    hosted: bool = False


def n_ranks(trainer: TrainerSection) -> int:
    """Return how many processes a recipe's run is."""
    return trainer.devices * trainer.num_nodes


def find_place(trainer: TrainerSection) -> Place | None:
    """Return the place that torchrun or SLURM gave this process; None where nobody launched several.

    Raises:
        RecipeError: another number of processes was launched than the recipe says, or none on several nodes.
    """
    wanted, env = n_ranks(trainer), os.environ
    if "RANK" in env and "WORLD_SIZE" in env and "MASTER_PORT" in env:
        place = Place(
            int(env["RANK"]),
            int(env.get("LOCAL_RANK", 0)),
            int(env["WORLD_SIZE"]),
            env.get("MASTER_ADDR", "127.0.0.1"),
            int(env["MASTER_PORT"]),
            hosted=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
    elif wanted > 1 and int(env.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in env:
        place = _slurm_place()
    elif trainer.num_nodes > 1:
        raise RecipeError(
            f"trainer.num_nodes = {trainer.num_nodes} needs a launcher: one command reaches one machine.",
            where="trainer.num_nodes",
            mend=f"On each: torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.devices} "
            "--rdzv-backend=c10d --rdzv-endpoint=FIRST_HOST:29500 -m lmteach.cli.main VERB --recipe ...",
        )
    else:
        return None
    if place.n != wanted:
        raise RecipeError(
            f"{place.n} processes were launched, but the recipe is for {trainer.devices} devices on "
            f"{trainer.num_nodes} nodes.",
            where="trainer.devices, trainer.num_nodes",
            mend=f"Launch {wanted}, or set trainer.devices and trainer.num_nodes.",
        )
    return place


def _slurm_place() -> Place:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    try:
        slurm = SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # it wants --ntasks-per-node
        raise RecipeError(f"SLURM's variables do not fit: {error}", where="trainer") from error
    return Place(
        slurm.global_rank(), slurm.local_rank(), slurm.world_size(), slurm.main_address, slurm.main_port
    )


@contextmanager
def joined_ranks(place: Place, trainer: TrainerSection, scratch: Path | None = None) -> Iterator[Ranks]:
    """Meet the other ranks of a launched run; part from them at the end.

    Raises:
        RunError: some did not come in time, or one was lost later.
    """
    with _met(place, trainer, lambda rank: "", None) as ranks:
        ranks.scratch = scratch or Path()
        yield ranks


@contextmanager
def started_ranks(recipe: Recipe, folder: Path, task: Sequence[str] = ()) -> Iterator[Ranks]:
    """Start the other ranks of a run on this machine, and be the first.

    Args:
        folder: the run's, claimed; the others read the recipe in it.
        task: what the others do, see `follow.py`; the run where empty.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    n = n_ranks(recipe.trainer)
    place = Place(0, 0, n, "127.0.0.1", meeting.port)
    others = {
        rank: subprocess.Popen(
            [sys.executable, "-m", "lmteach.curriculum.follow", str(folder), *task],
            env={
                "TORCH_CPP_LOG_LEVEL": "ERROR",  # else a lost connection is pages of C++ frames
                **os.environ,
                **_environment(Place(rank, rank, n, place.address, place.port)),
            },
            start_new_session=True,  # Ctrl-C reaches the first alone, which tells them
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, n)
    }
    try:
        with _met(place, recipe.trainer, lambda rank: _how(others[rank]), meeting) as ranks:
            ranks.scratch = folder / SCRATCH
            yield ranks
    finally:
        _await_end(list(others.values()))


def _environment(place: Place) -> dict[str, str]:
    """Return what Lightning and others read a process's place from."""
    return {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "WORLD_SIZE": str(place.n),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
    }


def _how(process: subprocess.Popen[bytes]) -> str:
    """Return how a process of ours ended; empty while it runs."""
    try:
        status = process.wait(0.2)  # its connection ends a moment before it does
    except subprocess.TimeoutExpired:
        return ""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _await_end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for processes that were told to end; end those that do not."""
    until = time.monotonic() + GRACE + 5
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _met(
    place: Place, trainer: TrainerSection, explain: Callable[[int], str], meeting: Any
) -> Iterator[Ranks]:
    import torch
    import torch.distributed as dist

    from lmteach.machine import device_name

    before = _set(_environment(place))
    device = device_name(trainer.accelerator)
    threads = torch.get_num_threads()
    if device == "cuda":
        torch.cuda.set_device(place.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // trainer.devices))
    try:
        ranks = _meet(place, trainer.timeout, "nccl" if device == "cuda" else "gloo", explain, meeting)
        try:
            yield ranks
        except BaseException as error:
            _part_in_anger(ranks, error)
            raise
        ranks.barrier()
        assert ranks.watch is not None
        ranks.watch.leave()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(threads)
        _set(before)


def _meet(place: Place, timeout: float, backend: str, explain: Callable[[int], str], meeting: Any) -> Ranks:
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    try:
        if meeting is None:
            meeting = TCPStore(
                place.address,
                place.port,
                is_master=place.rank == 0 and not place.hosted,
                timeout=timedelta(seconds=JOINING),
                wait_for_workers=False,
            )
        store = PrefixStore("lmteach", meeting)
        if place.rank == 0:
            local = place.address in ("127.0.0.1", "localhost")
            listener = Listener("127.0.0.1" if local else "")
            host = place.address if local else socket.gethostname()
            store.set("watch", "\n".join([host, str(listener.port), listener.token, this_process()]))
            watch = listener.accept_all(place.n, explain)
        else:
            store.set_timeout(timedelta(seconds=JOINING))
            host, port, token, first = store.get("watch").decode().split("\n")
            watch = connect(host, int(port), token, place.rank, first)
        dist.init_process_group(
            backend,
            store=PrefixStore("training", meeting),
            rank=place.rank,
            world_size=place.n,
            timeout=timedelta(seconds=timeout),
        )
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"The {place.n} ranks of this run did not meet at {place.address}:{place.port}: {error}.",
            mend="See what the others said; all must reach that address.",
        ) from error
    return Ranks(place.rank, place.n, store=store, watch=watch)


def _part_in_anger(ranks: Ranks, error: BaseException) -> None:
    """Tell the others why this rank ends; an error that a lost rank caused is put down to that rank.

    Raises:
        RunError: another rank was lost first.
    """
    assert ranks.watch is not None
    cause: RunError | None = None
    if not isinstance(error, LmteachError | KeyboardInterrupt):
        try:  # the process group fails in its own words when a rank is lost
            ranks.await_news()
        except RunError as lost:
            cause = lost
    said = error.what if isinstance(error, LmteachError) else f"{type(error).__name__}: {error}".strip()
    ranks.watch.leave(failed=said[:2000])
    if cause is not None:
        raise RunError(cause.what, mend=LOST_MEND) from error


def _set(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set environment variables, or remove them where None; return what they were."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before
