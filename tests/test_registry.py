"""Plugins by entry point: listed without importing, found by name, and every way in which that can go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmteach import registry
from lmteach.errors import PluginError, RecipeError


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `lmteach` with what `install` put on the path."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "lmteach.cli.main", *arguments],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
        )

    return run


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., None]:
    """Install a distribution of one module the way pip leaves it: the module, and a dist-info folder."""

    def install(distribution: str, code: str, **entry_points: str) -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        names = "".join(f"{name} = {target}\n" for name, target in entry_points.items())
        (info / "entry_points.txt").write_text(f"[lmteach.teachers]\n{names}")

    return install


GOOD = """
from dataclasses import dataclass

class Parrot:
    @dataclass
    class Config:
        word: str = "yes"

    def __init__(self, config, resources):
        pass
"""


def test_every_announced_plugin_of_ours_exists_or_says_why() -> None:
    for kind in registry.KINDS:
        names = [entry.name for entry in registry.entries(kind)]
        assert names == sorted(names)
        for name in names:
            assert registry.load(kind, name).Config is not None


def test_listing_and_reading_recipes_import_no_plugin() -> None:
    script = (
        "import sys\n"
        "from lmteach import registry\n"
        "names = [e.name for kind in registry.KINDS for e in registry.entries(kind)]\n"
        "assert 'oracle' in names and 'lmtx' in names\n"
        "print([m for m in sys.modules if m.startswith(('lmteach_plugins', 'torch', 'numpy', 'omegaconf'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plugins_config_costs_no_torch() -> None:
    """Reading a recipe imports the plugins it names."""
    script = (
        "import sys\n"
        "from lmteach import registry\n"
        "for kind in registry.KINDS:\n"
        "    for entry in registry.entries(kind):\n"
        "        registry.config_schema(registry.load(kind, entry.name))\n"
        "        heavy = {'torch', 'transformers', 'lightning', 'peft', 'scann', 'vllm'} & set(sys.modules)\n"
        "        assert not heavy or kind == 'searcher', (kind, entry.name, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_foreign_plugin_is_listed_with_its_distribution_and_can_be_named(run, install, tmp_path) -> None:
    install("parrot-teacher", GOOD, parrot="parrot_teacher:Parrot")
    listed = run("plugins", "--kind", "teacher").stdout
    (line,) = [line for line in listed.splitlines() if "parrot" in line]
    assert line.split() == ["teacher", "parrot", "parrot-teacher", "1.5", "parrot_teacher:Parrot"]
    (tmp_path / "r.yaml").write_text("teacher: {name: parrot, word: nay}\n")
    shown = run("show", "--recipe", str(tmp_path / "r.yaml"))
    assert "word: nay" in shown.stdout
    refused = run("show", "--recipe", str(tmp_path / "r.yaml"), "teacher.wort=x")
    assert refused.returncode == 1
    assert "no key 'wort' in 'teacher'. Did you mean 'word'?" in refused.stderr


def test_listing_imports_nothing_of_a_foreign_plugin(run, install) -> None:
    install("bomb", "raise SystemExit('imported')", bomb="bomb:Bomb")
    done = run("plugins")
    assert done.returncode == 0, done.stderr
    assert " bomb 1.5 " in done.stdout


@pytest.mark.parametrize(
    ("code", "target", "said"),
    [
        ("import no_such_module", "x_plugin:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "x_plugin:X", "ZeroDivisionError"),
        ("def f(:", "x_plugin:X", "SyntaxError"),
        ("raise SystemExit(3)", "x_plugin:X", "SystemExit: 3"),
        ("pass", "x_plugin:X", "AttributeError"),
        ("pass", "x_plugin", "AttributeError"),
        ("pass", "other_module:X", "No module named 'other_module'"),
        ("class X: pass", "x_plugin:X", "has no Config dataclass"),
        ("class X:\n  class Config: pass", "x_plugin:X", "has no Config dataclass"),
        (
            "from lmteach.errors import missing_package\n"
            "raise missing_package('big', needed_by='x', command='pip install big')",
            "x_plugin:X",
            "pip install big",
        ),
    ],
)
def test_a_broken_plugin_is_a_line_and_no_crash(run, install, tmp_path, code, target, said) -> None:
    install("x-plugin", code, x=target)
    checked = run("plugins", "--kind", "teacher", "--check")
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr
    (line,) = [line for line in checked.stdout.splitlines() if "x-plugin" in line and "BROKEN" in line]
    assert said in line or said in checked.stdout
    assert any(
        line.startswith("teacher    oracle") and line.endswith("ok") for line in checked.stdout.splitlines()
    )
    (tmp_path / "r.yaml").write_text("teacher: {name: x}\n")
    used = run("show", "--recipe", str(tmp_path / "r.yaml"))
    assert used.returncode == 1
    assert said in used.stderr
    assert "Traceback" not in used.stderr


def test_a_name_clash_names_both_distributions(run, install, tmp_path) -> None:
    install("first-oracle", GOOD, oracle="first_oracle:Parrot", alone="first_oracle:Parrot")
    listed = run("plugins", "--kind", "teacher")
    assert sum(line.endswith("CLASH: announced twice") for line in listed.stdout.splitlines()) == 2
    (tmp_path / "r.yaml").write_text("teacher: {name: oracle}\n")
    used = run("show", "--recipe", str(tmp_path / "r.yaml"))
    assert used.returncode == 1
    assert "The teacher 'oracle' is announced twice: by first-oracle (first_oracle:Parrot)" in used.stderr
    assert "and lmteach (lmteach_plugins.teachers.oracle:OracleTeacher)" in used.stderr
    (tmp_path / "r.yaml").write_text("teacher: {name: alone}\n")
    assert run("show", "--recipe", str(tmp_path / "r.yaml")).returncode == 0, "the others still work"


def test_a_distribution_without_metadata_is_no_crash(run, install, tmp_path) -> None:
    install("nameless", GOOD, oracle="nameless:Parrot")
    (tmp_path / "nameless-1.5.dist-info" / "METADATA").unlink()
    done = run("plugins")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_unknown_kinds_and_names_get_the_nearest() -> None:
    with pytest.raises(PluginError, match="There is no plugin kind 'teachers'"):
        registry.entries("teachers")
    with pytest.raises(PluginError, match="no searcher named 'exakt'"):
        registry.load("searcher", "exakt")


def test_a_file_is_loaded_from_the_folder_that_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    for folder, word in (("a", "first"), ("b", "second")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(GOOD.replace("yes", word))
    first = registry.load("teacher", "mine.py:Parrot", tmp_path / "a")
    second = registry.load("teacher", "mine.py:Parrot", tmp_path / "b")
    assert (first.Config().word, second.Config().word) == ("first", "second")
    monkeypatch.chdir(tmp_path / "b")
    assert registry.load("teacher", "./mine.py:Parrot") is second
    monkeypatch.chdir(tmp_path / "a")
    assert registry.load("teacher", "./mine.py:Parrot") is first, "the working directory counts, not the text"


def test_a_file_that_failed_once_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_module")
    with pytest.raises(PluginError, match=r"mine\.py cannot be imported: ModuleNotFoundError"):
        registry.load("teacher", "mine.py:Parrot", tmp_path)
    (tmp_path / "mine.py").write_text(GOOD)
    assert registry.load("teacher", "mine.py:Parrot", tmp_path).Config().word == "yes"


def test_options_are_strict_and_typed() -> None:
    cls = registry.load("teacher", "oracle")
    config = registry.configure(cls, {"noise": 1})
    assert (config.noise, type(config.noise)) == (1.0, float)
    assert isinstance(config, cls.Config)
    with pytest.raises(RecipeError, match=r"here: OracleTeacher has no key 'nose'\. Did you mean 'noise'"):
        registry.configure(cls, {"nose": 1}, "here")
    with pytest.raises(RecipeError, match="much"):
        registry.configure(cls, {"noise": "much"})


def test_literal_escapes_only_references() -> None:
    given = {"a": "${x}", "b": [r"\${x}", "$x {y}", 3], "c": {"d": None}}
    assert registry.literal(given) == {"a": r"\${x}", "b": [r"\\\${x}", "$x {y}", 3], "c": {"d": None}}
