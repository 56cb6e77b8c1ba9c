"""No key without an effect: each one of the schema, and of each built-in plugin's `Config`, is read by some code."""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lmteach.recipe import schema

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {name: cls for name, cls in vars(schema).items() if dataclasses.is_dataclass(cls)}
# `Budget(**asdict(recipe.budget))` takes all keys at once: lmteach/teaching/cost.py reads them.
READ_WHOLE = {"BudgetSection"}


def sections_by_field() -> dict[str, str]:
    """Return which section each key of a section holds: training -> TrainingSection."""
    found = {}
    for cls in SECTIONS.values():
        for key, hint in typing.get_type_hints(cls).items():
            for name, section in SECTIONS.items():
                if section in (hint, *typing.get_args(hint)):
                    found[key] = name
    return found


BY_FIELD = sections_by_field()


class Names:
    """Which section a file's expressions stand for, by its annotations, assignments and loops."""

    def __init__(self, tree: ast.AST) -> None:
        self.known = {"recipe": "Recipe"}
        for _ in range(2):  # an alias of an alias
            for node in ast.walk(tree):
                for target, section in self._told(node):
                    self.known[target] = section

    def section(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Attribute):
            return BY_FIELD.get(node.attr) or self.known.get(node.attr) or self.known.get(ast.unparse(node))
        return self.known.get(ast.unparse(node))

    def _told(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        pairs: list[tuple[ast.AST, ast.expr]] = []
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            words = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.annotation)}
            target = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            for section in words & set(SECTIONS):
                yield target, section
                yield f"self.{target}", section
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs += zip(target.elts, node.value.elts, strict=False)
                else:
                    pairs.append((target, node.value))
        elif isinstance(node, ast.comprehension | ast.For):
            pairs.append((node.target, node.iter))
        for target, value in pairs:
            if section := self.section(value):
                yield ast.unparse(target), section


@cache
def keys_read() -> set[tuple[str, str]]:
    """Return (section, key) of every read but those that only check a key or resolve it."""
    read = set()
    for folder in ("lmteach", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            checks = path.parent.name == "recipe" and path.stem != "loss"
            if checks or "templates" in path.parts:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = Names(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    read.add((names.section(node.value), node.attr))
    return read


@pytest.mark.parametrize("section", sorted(set(SECTIONS) - READ_WHOLE))
def test_every_key_of_the_schema_is_read(section: str) -> None:
    keys = [field.name for field in dataclasses.fields(SECTIONS[section])]
    assert [key for key in keys if (section, key) not in keys_read()] == []


def test_a_budget_has_the_keys_of_its_section() -> None:
    from lmteach.teaching.cost import Budget

    keys = {field.name for field in dataclasses.fields(schema.BudgetSection)}
    assert keys <= {field.name for field in dataclasses.fields(Budget)}


def configs() -> Iterator[tuple[Path, ast.Module, ast.ClassDef]]:
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                yield path, tree, node


def test_every_key_of_a_built_in_plugin_is_read() -> None:
    unread, n_configs = [], 0
    for path, tree, config in configs():
        n_configs += 1
        nodes = list(ast.walk(tree))
        read = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        read |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        keys = [n.target.id for n in config.body if isinstance(n, ast.AnnAssign)]
        unread += [f"{path.relative_to(ROOT)}: {key}" for key in keys if key not in read]
    assert n_configs >= 20
    assert unread == []
