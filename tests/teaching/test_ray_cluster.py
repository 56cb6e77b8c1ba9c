"""annotate with engine=ray on two machines of a cluster that share a store in PostgreSQL; one of them is lost."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach.teaching.store import Store

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lmteach[ray]'")
pytestmark = pytest.mark.slow

TEACHER = """
import time
from dataclasses import dataclass
from pathlib import Path
from lmteach.teaching.chance import chance
from lmteach.types import Verdict

class SlowTeacher:
    @dataclass
    class Config:
        log: str = ""
        prompt: str = "about"
        model: str = ""

    scope = "pair"
    identity = "slow"

    def __init__(self, config, resources):
        self.config = config

    def judge(self, batch):
        time.sleep(0.05 * len(batch))
        with Path(self.config.log).open("a") as file:
            file.write(f"{len(batch)}\\n")
        return [Verdict(tuple(chance(j.document, c) - 0.5 for c in j.candidates)) for j in batch]

    def close(self):
        pass
"""


def recipe_of(desk_recipe: Mapping[str, Any], folder: Path) -> Path:
    (folder / "slow.py").write_text(TEACHER)
    teacher = {"name": f"{folder}/slow.py:SlowTeacher", "log": str(folder / "log")}
    run = {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**desk_recipe, "teacher": teacher, "run": run}))
    return path


def test_machines_share_a_store_and_one_is_lost(
    desk_recipe: Mapping[str, Any], postgres_server: str, own_cache: Path, tmp_path: Path
) -> None:
    import psycopg

    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE on_ray")
    recipe = shlex.quote(str(recipe_of(desk_recipe, tmp_path)))
    annotate = f"{shlex.quote(sys.executable)} -m lmteach.cli.main annotate --recipe {recipe}"
    on_ray = f"{annotate} engine=ray ray.address=ADDRESS ray.cpus=1"
    shared = f"run.store={postgres_server}/on_ray"
    commands = [
        f"{on_ray} && exit 9 || exit 0",
        f"lose {tmp_path / 'log'}",
        f"{on_ray} ray.workers=2 {shared}",
        f"{on_ray} ray.workers=2 {shared} --quiet",
        f"{annotate} --quiet",
    ]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("ray_cluster.py"), *commands],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "Several machines cannot share a store in SQLite" in done.stderr
    assert "ray: 2 workers on 2 machines, 1 cores each" in done.stderr
    assert "ray: 1 worker died; what was not handed in is done again" in done.stderr
    lines = re.findall(r"([\d,]+) judgements made, ([\d,]+) from the store", done.stdout)
    made = [int(made.replace(",", "")) for made, _ in lines]
    assert made[:4] == [1200, 40, 0, 0], done.stdout
    with Store.open(f"{postgres_server}/on_ray") as theirs, Store.open(tmp_path / "store.sqlite") as ours:
        kept = [{record.key: record.score for record in store.records()} for store in (theirs, ours)]
    assert len(kept[0]) == 1240
    assert kept[0] == kept[1]
