"""predict and annotate with engine=ray on two worker processes, one of which is killed half-way: nothing differs."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lmteach[ray]'")

Call = Callable[..., tuple[int, str, str]]
Spawn = Callable[..., subprocess.Popen[str]]
ON_RAY = ("engine=ray", "ray.workers=2")
ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as many as a worker gets here
N_SHARDS, N_ROWS = 8, 100


@pytest.fixture
def shards(desks: Path, tmp_path: Path) -> Path:
    """A folder of Parquet shards of unlike sizes, some rows without text."""
    notes = [json.loads(line) for line in (desks / "train.jsonl").read_text().splitlines()]
    folder = tmp_path / "in"
    folder.mkdir()
    for s in range(N_SHARDS):
        picked = [(notes[(7 * s + i) % len(notes)]["text"], i) for i in range(N_ROWS + 13 * s)]
        rows = [{"id": f"{s}-{i}", "text": f"{text} {i}" if i % 50 else " "} for text, i in picked]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"s{s}.parquet")
    return folder


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> Any:
    """Return what `found` returns as soon as it is true."""
    until = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
    return value


def writing_after(output: Path, n_shards: int) -> int | None:
    """Return the process that is writing a shard, once some are whole."""
    if len(list(output.glob("s*.parquet"))) < n_shards:
        return None
    names = [path.name for path in output.glob(".s*.tmp")]
    return int(names[0].split(".")[-2]) if names else None


def test_predict_writes_the_same_where_a_worker_is_killed(
    call: Call,
    spawn: Spawn,
    finished_run: tuple[Path, Any],
    shards: Path,
    tmp_path: Path,
    children_of: Callable[[int], dict[int, str]],
    wait_until_gone: Callable[..., set[int]],
) -> None:
    local, out = tmp_path / "local", tmp_path / "out"
    status, _, err = call("predict", finished_run[0], shards, "--output", local)
    assert status == 0, err
    with spawn("predict", finished_run[0], shards, "--output", out, *ON_RAY, env=ONE_CORE) as process:
        victim = wait_for(lambda: writing_after(out, 2), process)
        os.kill(victim, signal.SIGKILL)
        children = children_of(process.pid)
        assert any("raylet" in line for line in children.values())
        said, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert said == ""
    assert "ray: 1 worker died; what was not handed in is done again" in err
    n_rows = sum(N_ROWS + 13 * s for s in range(N_SHARDS))
    assert (
        f"predict: {n_rows:,} rows, {N_SHARDS * 8 + 0:,} of them without text" in err or "without text" in err
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in local.iterdir())
    for path in local.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    assert not wait_until_gone(set(children))


TEACHER = '''
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from lmteach.teaching.chance import chance
from lmteach.types import Usage, Verdict


class PatientTeacher:
    """Writes down what it is asked; once, in a batch that is not the first of its part, it waits to be killed."""

    @dataclass
    class Config:
        prompt: str = "about"
        model: str = ""
        folder: str = "."
        waits: bool = False
        breaks: bool = False

    scope = "pair"
    identity = "patient"

    def __init__(self, config, resources):
        self.config, self.corpus = config, resources.corpus

    def judge(self, batch):
        folder, pid = Path(self.config.folder), os.getpid()
        with (folder / "asked.jsonl").open("a") as file:
            file.write("".join(json.dumps([pid, j.document, c]) + "\\n" for j in batch for c in j.candidates))
        if self.config.waits and len(batch) > 16:
            try:
                with (folder / "waiting").open("x") as file:
                    file.write(f"{pid} {len(batch)}")
                time.sleep(300)
            except FileExistsError:
                pass
        if self.config.breaks:
            return []
        return [Verdict(tuple(chance(1, j.document, c) - 0.5 for c in j.candidates),
                        usage=Usage(7 * len(j.candidates))) for j in batch]

    def close(self):
        pass
'''


@pytest.fixture
def bench(desk_recipe: Mapping[str, Any], tmp_path: Path) -> Path:
    """A recipe that asks about the top 5 of 400 training documents, some of them twins, and the top 2 of 20 others."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    source = Path(desk_recipe["corpus"]["path"])
    notes = [json.loads(line) for line in (source / "train.jsonl").read_text().splitlines()]
    made = [{**notes[i % len(notes)], "id": f"n{i}"} for i in range(420)]
    for i, note in enumerate(made):
        note["text"] += "" if i % 60 == 0 else f" ({i})"
    (corpus / "train.jsonl").write_text("".join(json.dumps(note) + "\n" for note in made))
    for name in ("test.jsonl", "labels.txt"):
        (corpus / name).write_text((source / name).read_text())
    (tmp_path / "patient.py").write_text(TEACHER)
    recipe = {
        **desk_recipe,
        "corpus": {"path": str(corpus), "n_dev": 20},
        "teacher": {"name": f"{tmp_path / 'patient.py'}:PatientTeacher", "folder": str(tmp_path)},
        "search": {**desk_recipe["search"], "n_judged": 5},
        "dev": {"n_judged": 2},
        "run": {"folder": str(tmp_path / "run"), "store": str(tmp_path / "ray.sqlite")},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def kept(store: Path) -> list[tuple[Any, ...]]:
    """Return what a store holds, but for when and at what cost."""
    with sqlite3.connect(store) as connection:
        rows = connection.execute(
            "SELECT key, score, flag, raw, details, prompt_tokens FROM lmteach_verdicts"
        )
        return sorted(rows)


def asked(folder: Path) -> list[tuple[int, str, str]]:
    return [tuple(json.loads(line)) for line in (folder / "asked.jsonl").read_text().splitlines()]


def counts(out: str) -> list[tuple[int, int, int]]:
    """Return documents, judgements made and those from the store, a split a line."""
    lines = re.findall(r"([\d,]+) documents: ([\d,]+) judgements made, ([\d,]+) from the store", out)
    return [tuple(int(n.replace(",", "")) for n in line) for line in lines]  # type: ignore[misc]


def test_annotate_keeps_the_same_where_a_worker_is_killed(
    call: Call,
    spawn: Spawn,
    bench: Path,
    tmp_path: Path,
    children_of: Callable[[int], dict[int, str]],
    wait_until_gone: Callable[..., set[int]],
) -> None:
    status, out, err = call(
        "annotate", "--recipe", bench, "--quiet", f"run.store={tmp_path / 'local.sqlite'}"
    )
    assert status == 0, err
    once = asked(tmp_path)
    assert len(once) == len({pair[1:] for pair in once})
    (tmp_path / "asked.jsonl").unlink()

    command = ("annotate", "--recipe", bench, *ON_RAY, "teacher.waits=true")
    with spawn(*command, env=ONE_CORE) as process:
        marker = tmp_path / "waiting"
        victim, n_waiting = wait_for(lambda: marker.exists() and marker.read_text().split(), process)
        children = children_of(process.pid)
        assert "MapWorker" in children[int(victim)]
        os.kill(int(victim), signal.SIGKILL)
        said, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "ray: 1 worker died" in err
    assert kept(tmp_path / "ray.sqlite") == kept(tmp_path / "local.sqlite")
    assert counts(said) == counts(out), "each judgement is counted once"

    times = Counter(pair[1:] for pair in asked(tmp_path))
    assert set(times) == {pair[1:] for pair in once}
    of_victim = [pair[1:] for pair in asked(tmp_path) if pair[0] == int(victim)]
    in_flight = of_victim[-5 * int(n_waiting) :]
    assert len(of_victim) > len(in_flight), "it had handed in a batch of the same part"
    assert {pair for pair, n in times.items() if n > 1} == set(in_flight), "only what was with the teacher"
    assert max(times.values()) == 2
    assert not wait_until_gone(set(children))
    assert not list((tmp_path / "run").glob("*")), "annotate begins no run"


@pytest.mark.slow
def test_a_teachers_error_is_said_as_locally(call: Call, spawn: Spawn, bench: Path) -> None:
    said = []
    for engine in ((), ON_RAY):
        with spawn(
            "annotate", "--recipe", bench, "--quiet", "teacher.breaks=true", *engine, env=ONE_CORE
        ) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 1
        assert out == ""
        said.append(re.sub(r"\d+", "N", err))
    assert "The teacher gave N verdicts for N judgements" in said[0]
    assert said[0] == said[1]


def test_a_single_file_is_no_work_for_a_cluster(
    call: Call, finished_run: tuple[Path, Any], desks: Path
) -> None:
    status, _, err = call("predict", finished_run[0], desks / "train.jsonl", *ON_RAY)
    assert status == 1
    assert "engine ray labels folders" in err


@pytest.mark.slow
def test_a_pass_whose_driver_is_killed_goes_on_and_leaves_no_process(
    call: Call,
    spawn: Spawn,
    finished_run: tuple[Path, Any],
    shards: Path,
    tmp_path: Path,
    children_of: Callable[[int], dict[int, str]],
    wait_until_gone: Callable[..., set[int]],
) -> None:
    local, out = tmp_path / "local", tmp_path / "out"
    call("predict", finished_run[0], shards, "--output", local)
    with spawn("predict", finished_run[0], shards, "--output", out, *ON_RAY, env=ONE_CORE) as process:
        wait_for(lambda: writing_after(out, 2), process)
        children = children_of(process.pid)
        process.kill()
        process.communicate(timeout=60)
    assert not wait_until_gone(set(children), 150), "two of Ray's agents wait a minute for what is gone"
    whole = {path.name: path.stat().st_mtime_ns for path in out.glob("s*.parquet")}
    assert len(whole) < N_SHARDS
    status, _, err = call("predict", finished_run[0], shards, "--output", out)
    assert status == 0, err
    assert f"{len(whole)} of {N_SHARDS} shards are there already" in err
    for path in local.glob("s*.parquet"):
        assert (out / path.name).read_bytes() == path.read_bytes()
        assert path.name not in whole or (out / path.name).stat().st_mtime_ns == whole[path.name]
    assert not list(out.glob(".s*"))
