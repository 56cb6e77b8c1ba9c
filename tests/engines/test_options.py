"""Which words of a command line are the engine's, how many workers there are, and what is said of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from lmteach.engines.cluster import Cluster, Machine, plan_workers
from lmteach.engines.options import EngineOptions, RayOptions, take_options
from lmteach.errors import LmteachError, RunError


def test_words_of_the_engine_are_taken_out() -> None:
    said = ["teacher.name=oracle", "--engine=ray", "ray.workers=3", "ray.gpus=0.5", "ray.address=a:1", "x=y"]
    options, rest = take_options(said)
    assert options == EngineOptions("ray", RayOptions(workers=3, gpus=0.5, address="a:1"))
    assert rest == ["teacher.name=oracle", "x=y"]
    assert take_options(["ray_tracing=1"]) == (EngineOptions(), ["ray_tracing=1"])
    assert take_options(["engine=local"]) == (EngineOptions(), [])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["engine=rya"], ["'rya'", "Did you mean 'ray'?"]),
        (["engine="], ["There is no engine ''"]),
        (["ray.workers=2"], ["ray.workers", "Add engine=ray"]),
        (["engine=ray", "ray.worker=2"], ["'ray.worker'", "Did you mean 'ray.workers'?"]),
        (["engine=ray", "ray.workers=0"], ["'0'", "1 or more"]),
        (["engine=ray", "ray.workers=two"], ["'two'", "1 or more"]),
        (["engine=ray", "ray.cpus=1.5"], ["'1.5'", "whole number"]),
        (["engine=ray", "ray.gpus=-1"], ["'-1'", "0 or more"]),
        (["engine=ray", "ray.gpus=nan"], ["'nan'", "0 or more"]),
    ],
)
def test_wrong_words_are_named(said: Sequence[str], words: Sequence[str]) -> None:
    with pytest.raises(LmteachError) as caught:
        take_options(said)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("options", "machines", "expected"),
    [
        (RayOptions(), [Machine(8, 0)], Cluster(1, 8, 0, 1)),
        (RayOptions(workers=2), [Machine(8, 0)], Cluster(2, 4, 0, 1)),
        (RayOptions(workers=3), [Machine(2, 0)] * 3, Cluster(3, 2, 0, 3)),
        (RayOptions(), [Machine(32, 4), Machine(32, 4)], Cluster(8, 8, 1, 2)),
        (RayOptions(gpus=0.5), [Machine(32, 4)], Cluster(8, 4, 0.5, 1)),
        (RayOptions(gpus=2), [Machine(32, 3), Machine(32, 5)], Cluster(3, 16, 2, 2)),
        (RayOptions(gpus=0), [Machine(32, 4)], Cluster(1, 32, 0, 1)),
        (RayOptions(cpus=3), [Machine(8, 1)], Cluster(1, 3, 1, 1)),
        (RayOptions(), [Machine(0, 0), Machine(8, 0), Machine(6, 0)], Cluster(2, 6, 0, 3)),
    ],
)
def test_workers_share_what_there_is(
    options: RayOptions, machines: Sequence[Machine], expected: Cluster
) -> None:
    assert plan_workers(options, machines) == expected


@pytest.mark.parametrize(
    ("options", "machines"),
    [
        (RayOptions(workers=5, cpus=2), [Machine(8, 0)]),
        (RayOptions(gpus=1), [Machine(8, 0)]),
        (RayOptions(workers=3, gpus=1), [Machine(8, 1), Machine(8, 1)]),
        (RayOptions(workers=2, cpus=5), [Machine(8, 0)]),
        (RayOptions(), [Machine(0, 0)]),
    ],
)
def test_workers_that_never_fit_are_refused(options: RayOptions, machines: Sequence[Machine]) -> None:
    with pytest.raises(RunError, match="do not fit"):
        plan_workers(options, machines)


@pytest.mark.parametrize("verb", ["predict", "annotate"])
def test_help_and_the_local_engine_do_not_import_ray(verb: str) -> None:
    code = (
        "import sys, lmteach.cli.main as m\n"
        "import lmteach.students.label_shards\n"
        "try: m.main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert 'ray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, verb, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("engine=ray", "ray.workers", "ray.address"):
        assert word in done.stdout


def test_without_ray_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmteach.engines.options import open_engine
    from lmteach.errors import PluginError
    from lmteach.tracking.console import Console

    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    options = EngineOptions("ray")
    with pytest.raises(PluginError, match="ray") as caught, open_engine(options, Console(quiet=True)):
        pass
    assert 'pip install "lmteach[ray]"' in str(caught.value)


def test_ray_client_is_refused() -> None:
    from lmteach.engines.cluster import open_cluster

    with pytest.raises(RunError, match="Ray Client"), open_cluster(RayOptions(address="ray://host:10001")):
        pass
