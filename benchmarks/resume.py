"""Kills a small fit at random moments and resumes it: the result must not change, and nothing be paid for twice.

    python benchmarks/resume.py              # 30 kills
    python benchmarks/resume.py --kills 5 --seed 2

Each trial is a run of its own: SIGKILL at a moment drawn uniformly over an undisturbed run's time, then --resume
until the end. Checked against the undisturbed run: the same pseudo-labels in every cycle, the same metrics within
1e-6; and of what the teacher was asked before the kill, just what had not reached the store is asked again.
Runs are forked from this process, so that no kill falls on the import of libraries.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
import yaml

from lmteach.curriculum import cycles
from lmteach.recipe.load import load_recipe
from lmteach.tracking.console import Console, Progress
from lmteach.tracking.run_folder import RunFolder

TOPICS = [
    "bread oven flour dough baking butter yeast kitchen",
    "telescope star galaxy planet orbit moon comet light",
    "bank loan interest stock bond credit investor tax",
    "patient doctor hospital vaccine surgery nurse drug clinic",
    "goal penalty striker referee stadium league match coach",
    "guitar melody orchestra piano concert singer violin album",
    "court judge contract verdict lawyer appeal evidence trial",
    "soil seed rose compost lawn tulip greenhouse weeds",
    "aircraft runway pilot cockpit landing wing airport flight",
    "molecule acid reaction catalyst polymer oxide solvent ion",
]
TEACHER = """
import time
from dataclasses import dataclass
from lmteach.types import Usage, Verdict

class Teacher:
    @dataclass
    class Config:
        log: str
    scope, identity = "pair", "gold, kept"
    def __init__(self, config, resources):
        self.log, views = config.log, [resources.corpus.train, resources.corpus.dev]
        golds = [view.gold_for_oracle() for view in views]
        self.gold = {i: set(g.of(n).tolist()) for v, g in zip(views, golds) for n, i in enumerate(v.ids)}
    def judge(self, batch):
        with open(self.log, "a") as log:
            log.write("".join(f"{j.document_id}\\t{c}\\n" for j in batch for c in j.candidates))
        time.sleep(0.005 * len(batch))  # so that kills fall on judging too
        return [
            Verdict(tuple(1.0 if i in self.gold[j.document_id] else -1.0 for i in j.label_ids), usage=Usage(9, 1))
            for j in batch
        ]
    def close(self):
        pass
"""


class StagedConsole(Console):
    """Says nothing, but leaves in a file what the run is doing."""

    def __init__(self, path: Path) -> None:
        super().__init__(quiet=True)
        self.path = path

    def say(self, text: str) -> None:
        self.path.write_text(f"after '{text.partition(':')[0]}'")

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "docs") -> Iterator[Progress]:
        self.path.write_text(name)
        with super().stage(name, total, unit) as progress:
            yield progress
        self.path.write_text(f"after {name}")


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), arguments.kills, random.Random(arguments.seed))


def _measure(folder: Path, n_kills: int, rng: random.Random) -> int:
    _write_parts(folder)
    started = time.monotonic()
    assert _wait(_start(folder, "whole", resume=False)) == 0
    seconds = time.monotonic() - started
    whole = _result(folder, "whole")
    print(
        f"undisturbed: {seconds:.1f} s, {len(whole['asked'])} pairs judged, "
        f"P@1 {whole['metrics']['untuned p@1']:.3f} -> {whole['metrics']['student p@1']:.3f}",
        flush=True,
    )
    failures, in_flight, stages = 0, 0, collections.Counter[str]()
    for number in range(n_kills):
        name, moment = f"killed{number}", rng.uniform(0, seconds)
        process = _start(folder, name, resume=False)
        ended = _kill_after(process, moment)
        stage = "finished before" if ended else (folder / f"{name}.stage").read_text()
        stages[stage] += 1
        asked, stored = len(_asked(folder, name)), _n_stored(folder, name)
        status = _wait(_start(folder, name, resume=True))
        problems = [f"--resume ended with status {status}"] if status else _differences(folder, name, whole)
        again = len(_asked(folder, name)) - len(set(_asked(folder, name)))
        if again != asked - stored:
            problems.append(f"{again} pairs asked again, but {asked - stored} had not reached the store")
        in_flight += again
        failures += bool(problems)
        print(
            f"{number + 1:3} of {n_kills}  {moment:5.1f} s  {stage:34} {'; '.join(problems) or 'same'}",
            flush=True,
        )
    print("\nwhere the kills fell: " + ", ".join(f"{stage} {n}" for stage, n in stages.most_common()))
    print(
        f"{n_kills - failures} of {n_kills} kills changed nothing; verdicts in the store paid for twice: "
        f"{0 if not failures else 'see above'}; pairs in flight at a kill, asked again: {in_flight}"
    )
    return 1 if failures else 0


def _start(folder: Path, name: str, *, resume: bool) -> int:
    """Fork a fit; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        (folder / f"{name}.stage").write_text("loading")
        overrides = [f"run.folder={folder}/{name}", f"run.store={folder}/{name}.sqlite"]
        recipe = load_recipe(str(folder / "recipe.yaml"), overrides).recipe
        recipe.teacher["log"] = str(folder / f"{name}.log")
        cycles.fit(recipe, StagedConsole(folder / f"{name}.stage"), resume=resume)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _kill_after(pid: int, seconds: float) -> bool:
    """Kill a process; return whether it had ended before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _asked(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.log"
    return path.read_text().splitlines() if path.exists() else []


def _n_stored(folder: Path, name: str) -> int:
    path = folder / f"{name}.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(path) as store:
            return int(store.execute("select count(*) from lmteach_verdicts").fetchone()[0])
    except sqlite3.OperationalError:  # killed before its tables were made
        return 0


def _result(folder: Path, name: str) -> dict[str, Any]:
    run = RunFolder(folder / name)
    final = run.events()[-1]
    assert final["event"] == "final", final
    metrics = {f"{who} {key}": value for who in ("untuned", "student") for key, value in final[who].items()}
    metrics |= {f"{who} of all": value["p@1"] for who, value in final["by_name"].items()}
    metrics |= {
        f"dev {event['cycle']}": event["dev_p1"] for event in run.events() if event["event"] == "cycle"
    }
    labels = {}
    for path in sorted(run.path.glob("cycles/*/annotations.npz")):
        with np.load(path) as file:
            labels |= {f"{path.parent.name} {key}": file[key] for key in file.files}
    return {"metrics": metrics, "labels": labels, "asked": _asked(folder, name)}


def _differences(folder: Path, name: str, whole: dict[str, Any]) -> list[str]:
    found, problems = _result(folder, name), []
    for key in whole["metrics"].keys() | found["metrics"].keys():
        a, b = (r["metrics"].get(key, float("nan")) for r in (whole, found))
        if not abs(a - b) <= 1e-6:
            problems.append(f"{key}: {a} and {b}")
    for key in whole["labels"].keys() | found["labels"].keys():
        a, b = (r["labels"].get(key) for r in (whole, found))
        if a is None or b is None or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            problems.append(f"pseudo-labels, {key}")
    if set(whole["asked"]) != set(found["asked"]):
        problems.append("other pairs were asked")
    return problems


def _write_parts(folder: Path) -> None:
    """Write corpus, weights, teacher and recipe."""
    rng = random.Random(1)
    for split, n in (("train", 140), ("test", 60)):
        lines = []
        for i in range(n):
            first, second = rng.sample(range(len(TOPICS)), 2)
            words = rng.sample(TOPICS[first].split(), 5) + rng.sample(TOPICS[second].split(), 3)
            labels = sorted((first, second))
            lines.append(json.dumps({"id": f"{split}{i}", "text": " ".join(words), "labels": labels}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("".join(f"desk {i}\n" for i in range(len(TOPICS))))
    (folder / "teacher.py").write_text(TEACHER)
    lengths = {"document_length": 24, "search_length": 24, "label_length": 8}
    recipe = {
        "name": "killed",
        "corpus": {"path": str(folder), "n_dev": 30},
        "teacher": {"name": f"{folder}/teacher.py:Teacher", "log": ""},
        "student": {"encoder": {"model": _cut_weights(folder / "weights"), **lengths}},
        "training": {"batch_size": 16, "lr": 1e-3, "warmup_steps": 1, "epochs": 1, "precision": "fp32"},
        "search": {
            "n_retrieved": 10,
            "n_kept": 10,
            "n_judged": 8,
            "precision": "fp32",
            "searcher": {"name": "exact"},
        },
        "curriculum": {"cycles": 2, "patience": 2},
        "evaluation": {"resamples": 100},
        "trainer": {"accelerator": "cpu"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    os.environ["LMTEACH_CACHE"] = str(folder / "cache")


def _cut_weights(folder: Path) -> str:
    """Write MiniLM's first layer: real weights, little time."""
    import transformers

    from lmteach.weights import MINILM, resolve

    transformers.logging.set_verbosity_error()
    transformers.AutoModel.from_pretrained(resolve(MINILM), num_hidden_layers=1).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(resolve(MINILM)).save_pretrained(folder)
    return str(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
