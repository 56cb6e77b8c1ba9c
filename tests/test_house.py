"""What holds for the house as a whole: packages, layers, sizes, words, and code that nobody calls."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = sorted([*(ROOT / "lmteach").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])

GREATEST_FILE = 400  # lines; STYLE: most under 250
GREATEST_FUNCTION = 60  # lines; a function fits a screen
UNCALLED = {
    # parameters of a protocol, fields that only a reader of JSON or of the run folder reads
    "n_total", "log_every_n_steps",
    "exact_per_second", "scann_per_second", "scann_build_seconds", "student_auc_by_document",
}  # fmt: skip


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_package_is_part_of_the_wheel() -> None:
    """A folder that is not listed works in an editable install and is missing from a wheel."""
    places = {"lmteach": "lmteach", "plugins": "lmteach_plugins", "recipes": "lmteach_recipes"}
    found = set()
    for folder, package in places.items():
        for file in (ROOT / folder).rglob("*.*"):
            if file.is_file() and file.suffix != ".pyc":
                found.add(".".join([package, *file.parent.relative_to(ROOT / folder).parts]))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_data_file_is_part_of_the_wheel() -> None:
    named = PROJECT["tool"]["setuptools"]["package-data"]
    patterns = [*named["lmteach"], *(f"serving/static/{p}" for p in named["lmteach.serving.static"])]
    files = [p.relative_to(ROOT / "lmteach") for p in (ROOT / "lmteach").rglob("*.*") if p.is_file()]
    others = [f for f in files if f.suffix not in (".py", ".pyc")]
    assert others
    assert [
        str(f)
        for f in others
        if not any(f.full_match(p) if hasattr(f, "full_match") else f.match(p) for p in patterns)
    ] == []


def test_every_folder_of_code_is_a_package() -> None:
    assert {f.parent for f in FILES} == {f.parent for f in FILES if f.name == "__init__.py"}


def test_imports_keep_to_the_layers() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.is_file():
        pytest.skip("import-linter is not installed: make check")
    done = subprocess.run([command, "--no-cache"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " 0 broken" in done.stdout


def test_files_and_functions_are_small_and_say_what_they_are_for() -> None:
    problems = []
    for path in FILES:
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if text.count("\n") > GREATEST_FILE:
            problems.append(f"{name} has {text.count(chr(10))} lines")
        for function in functions(path):
            n = (function.end_lineno or 0) - function.lineno + 1
            if n > GREATEST_FUNCTION:
                problems.append(f"{name}: {function.name} has {n} lines")
        if len((ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]) < 15:
            problems.append(f"{name}: its first line does not say what it is for")
    assert problems == []


def test_names_keep_to_the_vocabulary() -> None:
    """Words that say nothing, or that mean something else here."""
    unwanted = re.compile(r"(^|_)(pipeline|manager|handler|utils?|helpers?|data1|foo)(_|$)", re.IGNORECASE)
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        names = [node.name for node in ast.walk(tree) if isinstance(node, named)]
        found += [
            f"{path.relative_to(ROOT)}: {name}" for name in (path.stem, *names) if unwanted.search(name)
        ]
    assert found == []


def test_no_code_is_left_that_nobody_calls() -> None:
    vulture = pytest.importorskip("vulture", reason="vulture is not installed: make check")
    done = subprocess.run(
        [sys.executable, "-m", vulture.__name__], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("lmteach/", "plugins/"))]
    unused = [line for line in lines if not any(f"'{name}'" in line for name in UNCALLED)]
    assert unused == []
