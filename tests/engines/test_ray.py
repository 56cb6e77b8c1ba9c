"""The Ray engine on a local cluster of two worker processes: the same answers, also where workers die or fail."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmteach.engines.ray_engine import Failed
from lmteach.errors import StoreError, TeacherError
from lmteach.teaching.protocol import PartialVerdictsError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lmteach[ray]'")


def work_on_ray(root: Path, *mischiefs: str) -> dict[str, Any]:
    """Return what became of works on one cluster, each with a worker that does some mischief."""
    command = [sys.executable, Path(__file__).with_name("ray_driver.py"), root, *mischiefs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads((root / "found.json").read_text())
    return told | {"out": done.stdout, "err": done.stderr, "cwd": str(root)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of several works on one cluster."""
    return work_on_ray(tmp_path_factory.mktemp("ray"), "", "die once", "fail")


def test_answers_and_sums_are_those_of_the_local_engine(found: dict[str, Any]) -> None:
    local, ray = found["local"], found["ray"]
    assert [number for number, _ in ray["answers"]] == list(range(8))
    assert [a["part"] for _, a in ray["answers"]] == [a["part"] for _, a in local["answers"]]
    assert ray["standing"] == local["standing"] == {"steps": 32, "weight": 4 * 28}
    assert not ray["lost"]
    assert found["nothing"] == []


def test_two_processes_work_each_opened_once_in_the_callers_folder(found: dict[str, Any]) -> None:
    ray = found["ray"]
    pids = {a["pid"] for _, a in ray["answers"]}
    assert len(pids) == 2
    assert sorted(map(int, ray["opened"])) == sorted(pids)
    assert {a["here"] for _, a in ray["answers"]} == {found["cwd"]}


def test_the_part_of_a_worker_that_is_killed_is_done_again_and_no_other(found: dict[str, Any]) -> None:
    once = found["die once"]
    assert [number for number, _ in once["answers"]] == list(range(8))
    assert once["standing"] == found["local"]["standing"]
    assert once["lost"] == {"steps": 2, "weight": 6}, "what the dead worker told is told apart"
    assert once["n_lost"] == 1
    assert {part: once["done"].count(part) for part in range(8)} == {p: 6 if p == 3 else 4 for p in range(8)}
    assert len(once["opened"]) == 3


def test_an_error_comes_back_as_it_was_raised(found: dict[str, Any]) -> None:
    said = "a.jsonl:3: It is broken. Did you mean 'near'?\n  Mend it."
    assert found["fail"]["error"] == ["CorpusError", said]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/somewhere"),
        OSError(5, "Input/output error"),
        StoreError("It is locked."),
        PartialVerdictsError("Broke off.", [None], where="here"),
    ],
)
def test_errors_are_put_together_again(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(Failed.of(error))).error()
    assert isinstance(error, type(again))
    assert type(again) in (OSError, StoreError, TeacherError)
    assert str(again) == str(error)
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_an_error_that_nobody_foresaw_comes_back_with_its_traceback() -> None:
    try:
        {}["nobody thought of this"]
    except KeyError as error:
        again = pickle.loads(pickle.dumps(Failed.of(error))).error()
    assert type(again) is RuntimeError
    assert "KeyError: 'nobody thought of this'" in str(again)
    assert Path(__file__).name in str(again)


@pytest.mark.slow
def test_a_part_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    found = work_on_ray(tmp_path, "die")
    kind, said = found["die"]["error"]
    assert kind == "RunError"
    assert "4 workers died at part 3" in said
    assert found["die"]["done"].count(3) == 8, "two steps of each attempt"


def test_ray_says_nothing_and_leaves_nothing(
    found: dict[str, Any], wait_until_gone: Callable[..., set[int]]
) -> None:
    assert found["out"] == ""
    assert {a["reports"] for _, a in found["ray"]["answers"]} == {"0"}, "nor does it report to its makers"
    lines = found["err"].splitlines()
    assert lines[0] == f"ray: 2 workers on this machine, {max(1, (os.cpu_count() or 1) // 2)} cores each"
    assert all("died; what was not handed in is done again" in line for line in lines[1:]), found["err"]
    pids = {int(pid) for work in found.values() if isinstance(work, dict) for pid in work.get("opened", ())}
    assert not wait_until_gone(pids)
