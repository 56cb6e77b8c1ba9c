"""Run by test_ray.py in a process of its own: the Ray engine on a local cluster of two workers, several works."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmteach.engines.local import LocalEngine
from lmteach.engines.options import EngineOptions, RayOptions, open_engine
from lmteach.engines.protocol import Engine, Sums, Tell
from lmteach.errors import CorpusError, LmteachError
from lmteach.tracking.console import Console


@dataclass
class Steps:
    """Takes some steps at each part, telling of each, and does what it is told to on the way."""

    folder: Path
    mischief: str = ""
    n_workers: int = 1  # who wait for each other, so that none has done all before another is there

    def open(self) -> Steps:
        with (self.folder / "opened").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return self

    def do(self, part: int, tell: Tell) -> dict[str, Any]:
        until = time.monotonic() + 120
        while len((self.folder / "opened").read_text().split()) < self.n_workers:
            assert time.monotonic() < until
            time.sleep(0.01)
        for step in range(4):
            with (self.folder / "done").open("a") as file:
                file.write(f"{part}\n")
            tell({"steps": 1, "weight": part})
            if step == 1:
                self._disturb(part)
        reports = os.environ.get("RAY_USAGE_STATS_ENABLED")
        return {"part": part, "pid": os.getpid(), "here": os.getcwd(), "reports": reports}

    def _disturb(self, part: int) -> None:
        marker = self.folder / "killed"
        if self.mischief == "die once" and part == 3 and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mischief == "die" and part == 3:
            os._exit(1)
        if self.mischief == "fail" and part == 3:
            raise CorpusError("It is broken.", where="a.jsonl:3", nearest="near", mend="Mend it.")

    def close(self) -> None:
        pass


def work_on(engine: Engine, folder: Path, mischief: str) -> dict[str, Any]:
    """Do eight parts; return all that is to be known of it."""
    folder.mkdir()
    heard: list[Sums] = []
    found: dict[str, Any] = {}
    started = time.monotonic()
    try:
        with engine.run(Steps(folder, mischief, engine.n_workers), list(range(8)), heard.append) as answers:
            found["answers"] = sorted(answers)
    except (LmteachError, OSError, RuntimeError) as error:
        found["error"] = [type(error).__name__, str(error)]
    last = heard[-1] if heard else Sums()
    return {
        **found,
        "standing": last.standing,
        "lost": last.lost,
        "n_lost": last.n_lost,
        "opened": (folder / "opened").read_text().split(),
        "done": [int(part) for part in (folder / "done").read_text().split()],
        "seconds": time.monotonic() - started,
    }


def main(root: Path, mischiefs: list[str]) -> None:
    found = {"local": work_on(LocalEngine(), root / "local", "")}
    with open_engine(EngineOptions("ray", RayOptions(workers=2)), Console()) as engine:
        for mischief in mischiefs:
            found[mischief or "ray"] = work_on(engine, root / (mischief or "ray").replace(" ", "-"), mischief)
        with engine.run(Steps(root), [], lambda sums: None) as answers:
            found["nothing"] = list(answers)
    (root / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
