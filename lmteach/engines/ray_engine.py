"""The Ray engine: parts are a Ray dataset, workers a pool of actors that each load what they need once.

A worker that dies is started again by Ray and its part is done again; what a part's worker raises comes back as its
answer, so that it is raised here as the local engine would raise it.
"""

from __future__ import annotations

import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmteach import errors
from lmteach.engines.cluster import Cluster, load_ray
from lmteach.engines.protocol import Numbers, Sums, Work, Worker
from lmteach.engines.tally import Tally
from lmteach.errors import LmteachError, RunError
from lmteach.tracking.console import Console

N_ATTEMPTS = 4  # at one part: a part that kills its worker each time must not be tried for ever
KEPT_MEND = "What was done is kept; the same command goes on."
SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "execution_no_progress_timeout_s": -1,  # a part may take hours
}
POLL_SECONDS = 0.5
KEPT = (
    "LMTEACH_",
    "HF_HUB_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
)  # variables that workers elsewhere get too: no keys


class RayEngine:
    """Does parts on the workers of a cluster; see `protocol.Engine`."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self._cluster, self._console = cluster, console
        self.n_machines, self.n_workers = cluster.n_machines, cluster.workers

    @contextmanager
    def run(
        self, work: Work, parts: Sequence[Any], listen: Callable[[Sums], None]
    ) -> Iterator[Iterator[tuple[int, Any]]]:
        """See `protocol.Engine`."""
        if not parts:
            yield iter(())
            return
        ray = load_ray()
        home = _here(ray)
        tally = ray.remote(Tally).options(num_cpus=0, scheduling_strategy=home).remote()
        follow = _Follow(ray, tally, listen, self._console)
        try:
            follow.start()
            yield self._answers(ray, work, parts, tally)
            follow.end()
        finally:
            follow.stop()
            ray.kill(tally)

    def _answers(self, ray: Any, work: Work, parts: Sequence[Any], tally: Any) -> Iterator[tuple[int, Any]]:
        context = ray.data.DataContext.get_current()
        for name, value in SETTINGS.items():
            setattr(context, name, value)
        rows = [{"number": i, "part": pickle.dumps(part)} for i, part in enumerate(parts)]
        spec = ray.cloudpickle.dumps(work)  # by value where a script of the caller's defines it
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            PartWorker,
            fn_constructor_args=(spec, tally, Place.here()),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=min(self._cluster.workers, len(parts)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=self._cluster.cpus,
            num_gpus=self._cluster.gpus,
        )
        try:
            for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
                for number, said in zip(batch["number"].tolist(), batch["said"].tolist(), strict=True):
                    answer = pickle.loads(said)
                    if isinstance(answer, Failed):
                        raise answer.error()
                    yield number, answer
        except ray.exceptions.RayError as error:
            raise RunError(f"Ray broke off: {error}", where="engine=ray", mend=KEPT_MEND) from error


def _here(ray: Any) -> Any:
    """Return what keeps an actor on this machine, which lives as long as the work does."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@dataclass(frozen=True)
class Place:
    """Where the command was given: its folder, which relative paths start from, and its settings."""

    folder: str
    variables: Mapping[str, str]

    @classmethod
    def here(cls) -> Place:
        """Return this process's."""
        return cls(os.getcwd(), {k: v for k, v in os.environ.items() if k.startswith(KEPT)})

    def enter(self) -> None:
        """Make it this process's.

        Raises:
            RunError: this machine does not see the folder.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise RunError(
                f"A machine of the cluster does not see this folder: {error.strerror}.",
                where=self.folder,
                mend="All machines must see the same files: corpus, weights, cache and output.",
            ) from error
        os.environ.update(self.variables)


class PartWorker:
    """A worker in a process of its own, called by Ray Data with one part at a time."""

    def __init__(self, work: bytes, tally: Any, place: Place) -> None:
        self._work, self._tally, self._place = work, tally, place
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the part's number and, pickled, its answer."""
        said = [self._do(int(batch["number"][0]), pickle.loads(batch["part"][0]))]
        return {"number": batch["number"], "said": np.array(said, dtype=object)}

    def _do(self, number: int, part: Any) -> bytes:
        import ray

        def tell(numbers: Numbers) -> Sums:
            sums: Sums = ray.get(self._tally.add.remote(number, dict(numbers)))
            return sums

        try:
            if ray.get(self._tally.begin.remote(number)) > N_ATTEMPTS:
                raise RunError(
                    f"{N_ATTEMPTS} workers died at part {number} of the work.",
                    where="engine=ray",
                    mend=f"Too little memory is the usual reason: take fewer workers. {KEPT_MEND}",
                )
            if self._worker is None:
                self._place.enter()
                work: Work = pickle.loads(self._work)
                self._worker = work.open()
            return pickle.dumps(self._worker.do(part, tell))
        except Exception as error:
            return pickle.dumps(Failed.of(error))


@dataclass(frozen=True)
class Failed:
    """An error on its way from a worker to the process that has the work done."""

    kind: str
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """Take an error apart."""
        if isinstance(error, LmteachError):
            kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__)
            return cls(kind, {name: getattr(error, name) for name in ("what", "where", "nearest", "mend")})
        if isinstance(error, OSError) and error.errno is not None:
            name = None if error.filename is None else str(error.filename)
            return cls("OSError", {"errno": error.errno, "strerror": error.strerror, "filename": name})
        return cls("", {"text": traceback.format_exc()})

    def error(self) -> Exception:
        """Return the error again; one that nobody foresaw with the worker's traceback."""
        if self.kind == "OSError":
            return OSError(*self.arguments.values())
        if not self.kind:
            return RuntimeError(f"a worker failed:\n{self.arguments['text']}")
        found: Exception = getattr(errors, self.kind)(
            self.arguments["what"],
            **{name: value for name, value in self.arguments.items() if name != "what"},
        )
        return found


class _Follow(threading.Thread):
    """Asks for the sums now and then, passes them on, and says when a worker died."""

    def __init__(self, ray: Any, tally: Any, listen: Callable[[Sums], None], console: Console) -> None:
        super().__init__(daemon=True)
        self._ray, self._tally, self._listen, self._console = ray, tally, listen, console
        self._stopped, self._n_lost = threading.Event(), 0

    def run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self._look()
            except self._ray.exceptions.RayError:  # the work will say what is wrong
                return

    def end(self) -> None:
        """Pass on the last sums."""
        self.stop()
        self._look()

    def stop(self) -> None:
        self._stopped.set()
        if self.is_alive():
            self.join()

    def _look(self) -> None:
        sums: Sums = self._ray.get(self._tally.sums.remote())
        self._listen(sums)
        if (n := sums.n_lost - self._n_lost) > 0:
            self._n_lost = sums.n_lost
            self._console.say(f"ray: {n} worker{'s' * (n > 1)} died; what was not handed in is done again")
