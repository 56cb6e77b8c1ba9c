"""`lmteach plugins new` and `check`: what is written works, installs and teaches; what is broken is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach.scaffold.package import SORTS
from lmteach.testing.running import SUITES
from lmteach.weights import MINILM

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new package of each kind."""
    from lmteach.cli.main import main

    folder = tmp_path_factory.mktemp("packages")
    for kind in SORTS:
        assert main(["plugins", "new", kind, f"my_{kind}", "--folder", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def fresh(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh virtual environment in which the packages are installed.

    What this environment holds is seen from there, so that nothing is fetched; the packages are in that one alone.
    """
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # `addsitedir`, unlike a plain path, reads the editable installs there.
    (Path(paths["purelib"]) / "outer.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
    )
    python = Path(paths["scripts"]) / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, *sorted(packages.iterdir()), "--prefix", folder)
    return python.parent


def lmteach(fresh: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(fresh / "python", "-m", "lmteach.cli.main", *arguments, **options)


def test_what_is_written_is_sound(packages: Path) -> None:
    for tool in (["check"], ["format", "--check"]):
        run(sys.executable, "-m", "ruff", *tool, "--config", ROOT / "pyproject.toml", packages)
    for path in packages.rglob("*.*"):
        assert "Mine" not in path.read_text(), path
        assert "scaffold" not in path.read_text(), path
        assert "$" not in path.read_text(), path


def test_there_is_a_template_and_a_suite_for_each_kind() -> None:
    from lmteach.registry import KINDS

    assert set(SORTS) == set(SUITES) == set(KINDS)


def test_a_new_package_is_listed_where_it_is_installed(fresh: Path, call: Any) -> None:
    listed = lmteach(fresh, "plugins", "--check").stdout
    for kind in SORTS:
        (line,) = [line for line in listed.splitlines() if f"my_{kind}" in line]
        assert line.split()[:4] == [kind, f"my_{kind}", f"lmteach-my-{kind}", "0.1.0"]
        assert line.endswith("  ok")
    assert "my_teacher" not in call("plugins")[1], "it leaked into this environment"


@pytest.mark.parametrize("kind", SORTS)
def test_a_new_plugin_keeps_its_contract(fresh: Path, kind: str) -> None:
    keys = [f"model={MINILM}"] if kind == "encoder" else []
    done = lmteach(fresh, "plugins", "check", f"my_{kind}", *keys)
    assert "FAILED" not in done.stdout
    n = int(done.stdout.splitlines()[-1].split(":")[1].split()[0])
    assert n > 5, "the suite was run"


@pytest.mark.parametrize("kind", ["teacher", "curriculum", "head", "loss"])
def test_the_tests_of_a_new_package_pass(fresh: Path, packages: Path, kind: str) -> None:
    """Those of all kinds are run above by `check`; here their own files are, and what they add."""
    done = run(
        fresh / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=packages / f"lmteach-my-{kind}"
    )
    assert " passed" in done.stdout


def test_a_run_with_new_plugins_alone(
    fresh: Path, desk_recipe: Mapping[str, Any], minilm1: Path, cache_folder: Path, tmp_path: Path
) -> None:
    """Teacher, encoder, searcher, curriculum and loss are the new ones; the student is opened again to predict."""
    changed = {
        **desk_recipe,
        "teacher": {"name": "my_teacher"},
        "annotation": {"rule": "top"},
        "student": {"encoder": {"name": "my_encoder", "model": str(minilm1)}},
        "search": {**desk_recipe["search"], "searcher": {"name": "my_searcher"}},
        "curriculum": {"name": "my_curriculum", "cycles": 2, "first": 0.5},
        "loss": {"name": "my_loss", "temperature": 0.1},
        "run": {"folder": str(tmp_path / "run"), "store": str(tmp_path / "store.sqlite")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed))
    env = {**os.environ, "LMTEACH_CACHE": str(cache_folder)}
    lmteach(fresh, "fit", "--recipe", tmp_path / "recipe.yaml", env=env, cwd=tmp_path)
    stats = json.loads(
        lmteach(fresh, "store", "stats", "--json", "--store", tmp_path / "store.sqlite").stdout
    )
    assert stats[0]["identity"].startswith("my_teacher v1")
    assert stats[0]["verdicts"] > 0
    kept = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert kept["loss"] == {"name": "my_loss", "temperature": 0.1}
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "A note on bread and butter."}) + "\n")
    lmteach(
        fresh,
        "predict",
        tmp_path / "run",
        tmp_path / "in.jsonl",
        "--output",
        tmp_path / "out.jsonl",
        "--top-k",
        3,
        env=env,
    )
    assert len(json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["labels"]) == 3


def test_a_classifier_with_a_new_head(
    fresh: Path, desks: Path, minilm1: Path, cache_folder: Path, tmp_path: Path, call: Any
) -> None:
    """It is trained, kept and opened again; where its package is not installed, the student says so."""
    recipe = {
        "corpus": {"path": str(desks), "n_dev": 0},
        "student": {
            "kind": "classifier",
            "tuning": "frozen",
            "multilabel": True,
            "backbones": [{"model": str(minilm1), "max_tokens": 40, "precision": "fp32"}],
            "head": {"name": "my_head", "width": 8},
        },
        "training": {"epochs": 20, "batch_size": 16, "lr": 0.01, "warmup_steps": 0, "drop_last": False},
        "evaluation": {"resamples": 50},
        "run": {"folder": str(tmp_path / "run"), "features": str(tmp_path / "features")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    env = {**os.environ, "LMTEACH_CACHE": str(cache_folder)}
    lmteach(fresh, "fit", "--recipe", tmp_path / "recipe.yaml", env=env, cwd=tmp_path)
    final = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert final["stages"][0]["parameters"] == (384 + 1) * 12 + (384 + 1) * 8 + (8 + 1) * 12
    assert final["student"]["p@1"] > 0.5, "chance is 1/6"
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "A note on bread and flour."}) + "\n")
    predict = ("predict", tmp_path / "run", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    status, _, err = call(*predict)
    assert (status, "There is no head named 'my_head'" in err) == (1, True), err
    lmteach(fresh, *predict, "--top-k", 3, env=env)
    assert len(json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["labels"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("techer", "x"), "There is no template for a 'techer'. Did you mean 'teacher'?"),
        (("teacher", "oracle"), "There is a teacher named 'oracle' already, of lmteach."),
        (("teacher", "My-thing"), "'My-thing' is no name for a plugin."),
        (("teacher", "class"), "'class' is no name for a plugin."),
        (("teacher", "my_teacher"), "is there already."),
    ],
)
def test_what_cannot_be_written_is_said(
    call: Any, packages: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = sorted(packages.rglob("*"))
    status, out, err = call("plugins", "new", *arguments, "--folder", packages)
    assert (status, out) == (1, "")
    assert said in err
    assert sorted(packages.rglob("*")) == before


def test_a_broken_contract_is_named_with_what_it_breaks(call: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import pyarrow\n"
        "from lmteach_plugins.teachers.random import RandomTeacher\n"
        "from lmteach.types import Verdict\n"
        "class Bad(RandomTeacher):\n"
        "    def judge(self, batch):\n"
        "        return [Verdict(tuple(float('nan') for _ in j.candidates)) for j in batch]\n"
    )
    status, out, _ = call("plugins", "check", f"{tmp_path}/bad.py:Bad", "--kind", "teacher")
    assert status == 1
    assert "FAILED  reading_its_keys_imports_nothing_heavy\n        imports pyarrow" in out
    assert "FAILED  a_verdict_for_each_judgement\n        AssertionError:" in out
    assert "never NaN." in out
    assert "ok      the_identity_is_stable_text" in out


def test_checking_says_how_many_and_what_was_left_out(call: Any) -> None:
    status, out, _ = call(
        "plugins", "check", "random", "--kind", "teacher", "yes_rate=0.2", "--other", "seed=1"
    )
    assert (status, out.splitlines()[-1]) == (0, "teacher random: 13 of 13 kept")
    status, out, _ = call("plugins", "check", "oracle", "--leave-out", "test_closing_twice_is_no_error")
    assert (status, out.splitlines()[-1]) == (0, "teacher oracle: 12 of 12 kept, 1 left out")
    assert "closing_twice" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("randm",), "There is no plugin named 'randm'. Did you mean 'random'?"),
        (("transformers",), "'transformers' is the name of the teacher and of the encoder."),
        (
            ("random", "--kind", "teacher", "yes_rat=1"),
            "RandomTeacher has no key 'yes_rat'. Did you mean 'yes_rate'?",
        ),
        (("random", "--kind", "teacher", "yes_rate=2"), "A yes-rate lies between 0 and 1."),
        (
            ("random", "--kind", "teacher", "--other", "sed=1"),
            "RandomTeacher has no key 'sed'. Did you mean 'seed'?",
        ),
        (("random", "--kind", "teacher", "--leave-out", "nothing"), "The suite has no test 'nothing'."),
        (("ensemble",), "An ensemble needs members."),
    ],
)
def test_what_cannot_be_checked_is_said(call: Any, arguments: tuple[str, ...], said: str) -> None:
    status, _, err = call("plugins", "check", *arguments)
    assert status == 1
    assert said in err


def test_an_identity_that_does_not_change_is_a_fault(call: Any) -> None:
    """`yes_rate` of the random teacher is part of its identity; its own default again is not another."""
    status, out, _ = call("plugins", "check", "random", "--kind", "teacher", "--other", "yes_rate=0.5")
    assert status == 1
    assert "FAILED  the_identity_tells_configurations_apart" in out
