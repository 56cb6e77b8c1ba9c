"""Every command, Python and YAML block of the documentation and the README.

Run for real, on a small finished run that stands for those the pages name: what only reads or writes a file (see
`runs_here`), and all Python. Parsed only, by the command's own parser, with recipes and overrides resolved down to the
last key: what would teach, ask a big model, listen or reach a server (`fit`, `annotate`, `serve`, `sweep`, ...).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lmteach import registry
from lmteach.cli import main as command
from lmteach.cli.main import VERBS
from lmteach.curriculum.regimes import take_lists
from lmteach.engines.options import take_options
from lmteach.errors import LmteachError
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


shown = _module(HERE / "conftest.py")
BLOCKS = shown.blocks()
COMMANDS = [(block, words) for block in BLOCKS for words in shown.command_lines(block)]
OURS = [(block, words[1:]) for block, words in COMMANDS if Path(words[0]).name == "lmteach"]
LIGHT = (
    "recipes",
    "show",
    "predict",
    "audit",
    "export",
    "plugins",
    "store",
    "report",
    "compare",
    "labels",
)
OTHERS = (
    "make",
    "pip",
    "git",
    "cd",
    "wandb",
    "curl",
    "pytest",
    "python",
    "pre-commit",
    "cat",
    "docker",
    "torchrun",
    "ray",
)
"""Commands of others that a page may show; of `make` the target must exist."""


def runs_here(words: list[str]) -> bool:
    """Whether a command is run for real: a light verb, on what the reader's folder holds."""
    text = " ".join(words)
    dear = (
        "--recipe lmtx_debtags",
        "--teacher",
        "--prompt",
        "postgresql",
        "--push-to-hub",
        "store import",
        "--documents",
        "engine=ray",  # tests/engines
    )
    needs = re.findall(r"\S+\.(?:jsonl|csv|txt|parquet)\b", text)
    return (
        words[0] in LIGHT
        and not any(part in text for part in dear)
        and all(name in ("docs.jsonl", "tags.jsonl") or words[0] == "report" for name in needs)
    )


def identify(value: Any) -> str:
    return " ".join(value)[:70] if isinstance(value, list) else str(value)


def test_the_pages_were_read() -> None:
    assert len(OURS) > 30
    assert sum(runs_here(words) for _, words in OURS) > 12
    assert sum(block.language == "python" for block in BLOCKS) >= 4


@pytest.mark.parametrize(("block", "words"), OURS, ids=identify)
def test_a_command_is_understood(block: Any, words: list[str], at_home: Path, monkeypatch: Any) -> None:
    """By the real parser; its recipe loads with its overrides."""
    verb = words[0]
    assert verb in VERBS
    module = importlib.import_module(f"lmteach.cli.{verb.replace('-', '_')}")
    seen: list[Any] = []
    monkeypatch.setattr(module, "run", lambda args: seen.append(args) or 0)
    assert command.main(words) == 0
    (args,) = seen
    recipe = getattr(args, "recipe", None)
    if recipe and not (recipe.endswith(".yaml") and "/" not in recipe and not _is_known(recipe)):
        _, overrides = take_options(getattr(args, "overrides", ()))
        if verb == "fit":
            _, overrides = take_lists(overrides)
        load_recipe(recipe, [text for text in overrides if "=" in text])


def _is_known(recipe: str) -> bool:
    return Path(recipe).is_file() or (ROOT / "recipes" / recipe).is_file()


@pytest.mark.parametrize(
    ("block", "words"), [(block, words) for block, words in OURS if runs_here(words)], ids=identify
)
def test_a_light_command_runs(
    block: Any, words: list[str], at_home: Path, call: Callable[..., Any], monkeypatch: Any
) -> None:
    if words[:2] == ["plugins", "new"]:  # before it is installed
        monkeypatch.setattr(registry, "entries", lambda kind: ())
        shutil.rmtree(f"lmteach-{words[3]}", ignore_errors=True)  # of another page
    if "--to" in words:  # of another page
        shutil.rmtree(words[words.index("--to") + 1], ignore_errors=True)
    status, out, err = call(*words)
    assert status == 0, err
    assert out.strip() or "--output" in words or "--to" in words


@pytest.mark.parametrize(
    ("block", "words"), [c for c in COMMANDS if Path(c[1][0]).name != "lmteach"], ids=identify
)
def test_other_commands_are_known(block: Any, words: list[str]) -> None:
    """A typo in a command's name would pass as another's command."""
    words = [word for word in words if "=" not in word or word.startswith("-")] or words
    name = Path(words[0]).name
    if block.language == "" and not any(
        c[1][0].endswith(OTHERS) or "lmteach" in c[1][0] for c in COMMANDS if c[0] == block
    ):
        return  # a drawing
    assert name in OTHERS, f"{block}: {name}"
    if name == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"{block}: {words}"


def _execute(block: Any, names: dict[str, Any]) -> None:
    for statement in ast.parse(block.text).body:
        try:
            exec(compile(ast.Module([statement], []), str(block), "exec"), names)
        except LmteachError as error:
            # A student taught in seconds may not reach it; the page's reader has a better one.
            if "No threshold reaches precision" not in str(error):
                raise


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.language == "python"}))
def test_python_runs(page: str, at_home: Path) -> None:
    """A page's blocks one after the other, with `texts` given; a contract suite that they define is run too."""
    from lmteach.testing.running import run_suite

    module = ModuleType("__docs__")
    module.__dict__["texts"] = ["Read a file line by line.", "Bread from the oven."]
    sys.modules["__docs__"] = module
    try:
        for block in BLOCKS:
            if block.page == page and block.language == "python":
                _execute(block, module.__dict__)
    finally:
        del sys.modules["__docs__"]
    for thing in list(vars(module).values()):
        if isinstance(thing, type) and thing.__name__.startswith("Test"):
            assert [outcome for outcome in run_suite(thing) if outcome.fault] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "yml")], ids=identify)
def test_yaml_is_a_recipe_that_loads(block: Any, at_home: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    known = {field.name for field in dataclasses.fields(Recipe)} | {"extends"}
    if not set(values) & known:
        return
    (tmp_path / "shown.yaml").write_text(block.text)
    load_recipe(str(tmp_path / "shown.yaml"))


def test_json_is_json() -> None:
    for block in BLOCKS:
        if block.language == "json":
            json.loads(block.text)


# What is generated


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return _module(ROOT / "docs" / "reference.py")


def test_every_recipe_key_is_in_the_reference(reference: ModuleType) -> None:
    from lmteach.recipe.load import flatten

    text = reference.recipe_keys()
    for key in flatten(dataclasses.asdict(Recipe())):
        section = re.sub(
            r"^(teacher|curriculum|student\.encoder|student\.head|search\.searcher)\.name$", r"\1", key
        )
        assert f"`{section}`" in text or f"`{section}[]`" in text, key
    assert "| `training.lr` | `float` | `0.0002` |" in text
    assert (
        "| `search.batch_tokens` | `int \\| null` | `null` | padded tokens a forward while encoding;" in text
    )
    assert "## `student.backbones[]`" in text
    assert "`student.backbones[].pooling`" in text


def test_every_plugin_and_its_keys_are_in_the_reference(reference: ModuleType) -> None:
    text = reference.plugin_keys()
    for kind in registry.KINDS:
        for entry in registry.entries(kind):
            if entry.distribution != "lmteach":
                continue
            part = text.partition(f"### {kind} `{entry.name}`\n")[2].partition("\n### ")[0]
            for field in dataclasses.fields(registry.load(kind, entry.name).Config):
                assert f"| `{field.name}` |" in part, (kind, entry.name, field.name)
    assert "| `yes_rate` | `float` | `0.5` | share of scores above 0. |" in text


def test_faults_come_with_their_mending(reference: ModuleType) -> None:
    text = reference.faults()
    assert "### RunError" in text
    assert "| There is a run here already. | Add --resume to go on with it" in text
    assert "| There is no … named '…'. | `lmteach plugins` lists what is installed. |" in text
    assert "AssertionError" not in text


def test_shipped_recipes_are_listed_with_how_to_run_them_small(reference: ModuleType) -> None:
    text = reference.shipped_recipes()
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert f"| `{path.stem}` |" in text
    assert "| `lmteach fit --recipe lmtx_quickstart.yaml corpus.n_train=200" in text


# The site


def test_every_page_is_in_the_menu() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        assert f": {path.relative_to(ROOT / 'docs')}\n" in text, path


def test_links_between_pages_lead_somewhere() -> None:
    for path in shown.PAGES:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="pip install 'lmteach[docs]'")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {str(p.parent.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("index.html")}
    written = {str(p.relative_to(ROOT / "docs").with_suffix("")) for p in (ROOT / "docs").rglob("*.md")}
    assert {page.removesuffix("/index").replace("index", ".") for page in written} <= pages
    faults = (tmp_path / "site" / "faults" / "index.html").read_text()
    assert "There is a run here already." in faults
    assert "<!-- generated" not in faults
