"""`lmteach fit` as two processes on the CPU: the same labels for both, long teachers, deaths, launchers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.curriculum.judging import JudgedShortlist
from lmteach.teaching.annotations import Annotations
from lmteach.tracking.run_folder import RunFolder

Spawn = Callable[..., subprocess.Popen[str]]

TEACHER = '''
import os, signal, threading, time
from dataclasses import dataclass
from lmteach.errors import TeacherError
from lmteach.types import Usage, Verdict

RANK = os.environ.get("RANK", "0")

class Teacher:
    """Knows the gold; notes every question; is slow, dies or fails on one rank where it is told to."""
    @dataclass
    class Config:
        log: str
        slow: float = 0.0
        die: str = ""
    scope, identity = "pair", "gold"
    def __init__(self, config, resources):
        self.config, self.corpus, self.n = config, resources.corpus, 0
        views = [self.corpus.train, self.corpus.dev]
        golds = [view.gold_for_oracle() for view in views]
        self.gold = {i: set(g.of(n).tolist()) for v, g in zip(views, golds) for n, i in enumerate(v.ids)}
    def judge(self, batch):
        if self.n == 0 and RANK == "1":
            time.sleep(self.config.slow)
        self.n += len(batch)
        told = os.path.exists(self.config.log + ".die")
        if told and RANK == "1" and self.config.die == "judging" and self.n > 20:
            os.kill(os.getpid(), signal.SIGKILL)
        if told and RANK == "1" and self.config.die == "failing" and self.n > 20:
            raise TeacherError("The server is gone.")
        with open(self.config.log, "a") as log:
            log.write("".join(f"{j.document_id}\\t{c}\\t{RANK}\\n" for j in batch for c in j.candidates))
        return [
            Verdict(tuple(1.0 if i in self.gold[j.document_id] else -1.0 for i in j.label_ids), usage=Usage(10, 1))
            for j in batch
        ]
    def close(self):
        if os.path.exists(self.config.log + ".die") and RANK == "1" and self.config.die == "training":
            threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
'''


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """How the recipe names the teacher whose questions are noted in `asked.log`."""
    (tmp_path / "noting.py").write_text(TEACHER)
    return f"teacher={{name: {tmp_path}/noting.py:Teacher, log: {tmp_path}/asked.log}}"


def two_ranks(recipe_file: Path, *overrides: str) -> list[Any]:
    return ["fit", "--recipe", recipe_file, "trainer.devices=2", "trainer.accelerator=cpu", *overrides]


def finish(process: subprocess.Popen[str], status: int = 0, seconds: float = 240) -> str:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out + err


def questions(tmp_path: Path) -> list[str]:
    return [line.rpartition("\t")[0] for line in (tmp_path / "asked.log").read_text().splitlines()]


def check_run(folder: Path) -> dict[str, Any]:
    """Check what any whole run must have left, however many ranks it had; return its final line."""
    events = RunFolder(folder).events()
    assert [event["event"] for event in events] == ["cycle", "final"]
    final = events[-1]
    assert final["student"]["p@1"] > final["untuned"]["p@1"] + 0.15
    annotations = Annotations.load(folder / "cycles" / "00" / "annotations.npz")
    assert (annotations.counts.n_documents, annotations.counts.n_positives) == (100, 200)
    assert JudgedShortlist.load(folder / "cycles" / "00" / "verdicts.npz").judged_nk.all()
    assert not list((folder / ".ranks").glob("*"))
    assert not list(folder.rglob("*.tmp"))
    return final


def test_two_processes_teach_one_student(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path
) -> None:
    said = finish(spawn(*two_ranks(recipe_file, teacher)))
    final = check_run(tmp_path / "run")
    ranks = [line.rpartition("\t")[2] for line in (tmp_path / "asked.log").read_text().splitlines()]
    assert ranks.count("0") == ranks.count("1") == 620, "half of 100 documents x 12 labels and 20 x 2 each"
    assert len(set(questions(tmp_path))) == len(questions(tmp_path)) == final["judgements"] == 1240
    cycle = RunFolder(tmp_path / "run").events()[0]
    assert cycle["prompt_tokens"] == 10 * 120
    assert cycle["steps"] == 2 * (100 // 32), "two ranks share an epoch"
    assert said.count("cycle 0:") == 1, "one process speaks"
    spent = json.loads((tmp_path / "run" / "spent.json").read_text())
    assert spent["judgements"] == 1240


@pytest.mark.slow
def test_two_processes_divide_a_students_weights(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path, minilm1: Path, desks: Path
) -> None:
    from safetensors.torch import load_file

    finish(spawn(*two_ranks(recipe_file, teacher, "trainer.strategy=fsdp")))
    final = check_run(tmp_path / "run")
    cycle = RunFolder(tmp_path / "run").events()[0]
    saved = load_file(tmp_path / "run" / "student" / "model.safetensors")
    start = load_file(minilm1 / "model.safetensors")
    assert {name: value.shape for name, value in saved.items()} == {n: v.shape for n, v in start.items()}
    n_weights = sum(value.numel() for value in saved.values())
    assert cycle["rank_weight_bytes"] == pytest.approx(4 * n_weights / 2, rel=0.02)
    assert cycle["rank_state_bytes"] == pytest.approx(2 * 4 * n_weights / 2, rel=0.05)
    tagged = tmp_path / "tagged.jsonl"
    finish(spawn("predict", tmp_path / "run", desks / "test.jsonl", "--top-k", 1, "--output", tagged))
    names = (desks / "labels.txt").read_text().splitlines()
    rows = [json.loads(line) for line in (desks / "test.jsonl").read_text().splitlines()]
    found = [json.loads(line)["labels"][0] for line in tagged.read_text().splitlines()]
    right = [name in {names[i] for i in row["labels"]} for name, row in zip(found, rows, strict=True)]
    assert sum(right) / len(right) == pytest.approx(final["student"]["p@1"], abs=0.02), (
        "alone, it is the same"
    )


def annotating(recipe_file: Path, *overrides: str) -> list[Any]:
    return ["annotate", *two_ranks(recipe_file, *overrides, "search.n_judged=5")[1:], "--quiet"]


def stored(store: Path) -> list[tuple[Any, ...]]:
    """Every verdict of a store, without when and how fast it was made."""
    with contextlib.closing(sqlite3.connect(store)) as opened:
        query = "select key, score, prompt_tokens, answer_tokens from lmteach_verdicts order by key"
        return opened.execute(query).fetchall()


@pytest.mark.slow
def test_two_processes_judge_ahead_what_one_would(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path
) -> None:
    said = finish(spawn(*annotating(recipe_file, teacher)))
    assert "train 100 documents: 500 judgements made, 0 from the store, 0 unread" in said
    assert "dev   20 documents: 40 judgements made" in said
    ranks = [line.rpartition("\t")[2] for line in (tmp_path / "asked.log").read_text().splitlines()]
    assert ranks.count("0") == ranks.count("1") == 270
    asked = questions(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".annotate", "run"))]

    (tmp_path / "asked.log").unlink()
    other = f"run.store={tmp_path}/other.sqlite"
    alone = finish(spawn(*annotating(recipe_file, teacher, other), "trainer.devices=1"))
    assert all(line.split(";")[0] in said for line in alone.splitlines() if "documents:" in line)
    assert sorted(questions(tmp_path)) == sorted(asked), "the same shortlists"
    assert stored(tmp_path / "other.sqlite") == stored(tmp_path / "store.sqlite")
    assert len(stored(tmp_path / "store.sqlite")) == 540


@pytest.mark.slow
def test_a_rank_lost_while_judging_ahead_is_named(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path
) -> None:
    mark = tmp_path / "asked.log.die"
    mark.touch()
    arguments = annotating(recipe_file, teacher.replace("log:", "die: judging, log:"))
    said = finish(spawn(*arguments), status=1)
    assert re.search(r"lmteach: Rank 1 \(process \d+ on .*\) died: killed by SIGKILL.", said), said
    mark.unlink()
    left = tmp_path / ".annotate-killed"  # as by a power cut, a while ago
    left.mkdir()
    os.utime(left, (0, 0))
    finish(spawn(*arguments))
    asked = questions(tmp_path)
    assert len(asked) == len(set(asked)) == 540
    assert not list(tmp_path.glob(".annotate-*"))


@pytest.mark.slow
def test_a_teacher_may_take_longer_than_the_process_groups_timeout(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path
) -> None:
    slow = teacher.replace("log:", "slow: 15, log:")
    started = time.monotonic()
    finish(spawn(*two_ranks(recipe_file, slow, "trainer.timeout=6")))
    assert time.monotonic() - started > 15
    assert "finished already" in finish(spawn(*two_ranks(recipe_file, slow, "trainer.timeout=6"), "--resume"))
    check_run(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "strategy"),
    [("judging", "ddp"), ("failing", "ddp"), ("training", "ddp"), ("training", "fsdp")],
)
def test_a_lost_rank_ends_the_run_by_name_and_it_goes_on(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path, moment: str, strategy: str
) -> None:
    mark = tmp_path / "asked.log.die"
    mark.touch()
    epochs = "training.epochs=20" if moment == "training" else "training.epochs=2"
    dying = teacher.replace("log:", f"die: {moment}, log:")
    arguments = two_ranks(recipe_file, dying, epochs, f"trainer.strategy={strategy}")
    process = spawn(*arguments)
    said = finish(process, status=1)
    how = "ended: The server is gone." if moment == "failing" else "died: killed by SIGKILL."
    assert re.search(rf"lmteach: Rank 1 \(process \d+ on .*\) {how}", said), said
    mark.unlink()
    if (moment, strategy) == ("training", "ddp"):
        return
    finish(spawn(*arguments, "--resume"))
    final = check_run(tmp_path / "run")
    asked = questions(tmp_path)
    assert len(asked) == len(set(asked)) == 1240, "what rank 1 had answered was in the store before it died"
    assert final["judgements"] == 1240


@pytest.mark.slow
def test_when_the_first_rank_is_killed_the_others_end(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path
) -> None:
    process = spawn(*two_ranks(recipe_file, teacher.replace("log:", "slow: 600, log:")))
    until = time.monotonic() + 120
    other: list[int] = []
    while not other and time.monotonic() < until:
        time.sleep(0.2)
        other = [pid for pid in _children(process.pid) if "follow" in _command(pid)]
        if not (tmp_path / "asked.log").exists():
            other = []
    assert other
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 60
    while _command(other[0]) and time.monotonic() < until:
        time.sleep(0.2)
    assert not _command(other[0]), "it ends within a minute, though its teacher sleeps"


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _command(pid: int) -> str:
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d"]


def torchrun(arguments: list[Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *TORCHRUN, "--rdzv-endpoint=127.0.0.1:0", "-m", "lmteach.cli.main"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_torchrun_launches_the_ranks(
    recipe_file: Path, teacher: str, tmp_path: Path, own_cache: Path
) -> None:
    done = torchrun(two_ranks(recipe_file, teacher))
    assert done.returncode == 0, done.stderr
    check_run(tmp_path / "run")
    assert done.stderr.count("cycle 0:") == 1
    again = torchrun(two_ranks(recipe_file, teacher))
    assert again.returncode == 1
    assert "There is a run here already." in again.stderr


@pytest.mark.slow
def test_torchrun_launches_annotate_and_a_divided_student(
    recipe_file: Path, teacher: str, tmp_path: Path, own_cache: Path
) -> None:
    done = torchrun(["annotate", *two_ranks(recipe_file, teacher)[1:], "--quiet"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train 100 documents: 1,200 judgements made") == 1, "one process speaks"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".annotate", "run"))]
    done = torchrun(two_ranks(recipe_file, teacher, "trainer.strategy=fsdp"))
    assert done.returncode == 0, done.stderr
    check_run(tmp_path / "run")
    assert RunFolder(tmp_path / "run").events()[0]["rank_weight_bytes"] > 0
    assert len(questions(tmp_path)) == len(set(questions(tmp_path))), "what was judged ahead is in the store"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "annotate"])
def test_slurm_launches_the_ranks(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path, verb: str
) -> None:
    """As srun starts them: the same command twice, told apart by variables."""
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NAME": "teach",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NODELIST": "localhost",
    }
    command = [verb, *two_ranks(recipe_file, teacher, "trainer.strategy=fsdp")[1:]]
    ranks = [spawn(*command, env={**job, "SLURM_PROCID": str(r), "SLURM_LOCALID": str(r)}) for r in range(2)]
    said = [finish(rank) for rank in ranks]
    assert said[1] == ""
    if verb == "annotate":
        assert "train 100 documents: 1,200 judgements made" in said[0]
        return
    check_run(tmp_path / "run")
    assert "cycle 0:" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_classifier_learns_on_two_ranks(
    spawn: Spawn, recipe_file: Path, teacher: str, tmp_path: Path, strategy: str
) -> None:
    finish(
        spawn(
            *two_ranks(recipe_file, teacher.replace("asked.log", "class.log")),
            "student.kind=classifier",
            "student.multilabel=true",
            "supervision=teacher",
            "curriculum={name: once}",
            "training.validation=0.2",
            "training.epochs=4",
            f"trainer.strategy={strategy}",
        )
    )
    (final,) = [event for event in RunFolder(tmp_path / "run").events() if event["event"] == "final"]
    asked = (tmp_path / "class.log").read_text().splitlines()
    assert {line.rpartition("\t")[2] for line in asked} == {"0", "1"}
    assert len(asked) == len({line.rpartition("\t")[0] for line in asked}) == 100 * 12
    assert final["stages"][0]["documents"] == 80
    assert ("rank_weight_bytes" in final["stages"][0]) == (strategy == "fsdp")
    assert np.isfinite(final["student"]["macro_f1"])
