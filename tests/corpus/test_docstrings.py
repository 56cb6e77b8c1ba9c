"""Docstrings are taken from source without running it, and from C modules by looking at them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmteach.corpus.docstrings import (
    C_MODULES,
    ModuleFile,
    find_modules,
    inspect_module,
    parse_module,
    synopsis,
)

SOURCE = '''
"""module - Does a thing.

More.
"""
raise SystemExit("this module must never be run")

def public():
    """Public function."""
    def nested():
        """Not reachable."""

def _private():
    """Private."""

async def waits():
    """Awaitable."""

class Thing:
    """A class."""
    def method(self):
        """A method.

            Indented.
        """
    def __init__(self):
        """Special."""
    class Inner:
        def deep(self):
            """Deep method."""

class _Hidden:
    def method(self):
        """Hidden."""

try:
    import nothing
except ImportError:
    def fallback():
        """In an except branch."""
else:
    if True:
        def chosen():
            """In an else branch."""
        pass

def silent():
    return "not a docstring"
'''


def module_file(tmp_path: Path, source: str | bytes) -> ModuleFile:
    path = tmp_path / "module.py"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    return ModuleFile("package.module", path)


def test_public_definitions_are_found_without_running_the_module(tmp_path: Path) -> None:
    own, found = parse_module(module_file(tmp_path, SOURCE))
    assert own.startswith("module - Does a thing.")
    assert {d.name: d.text for d in found} == {
        "public": "Public function.",
        "waits": "Awaitable.",
        "Thing": "A class.",
        "Thing.method": "A method.\n\nIndented.",
        "Thing.Inner.deep": "Deep method.",
        "fallback": "In an except branch.",
        "chosen": "In an else branch.",
    }


@pytest.mark.parametrize("source", ["def broken(:\n", b"\x00\xff", b"# coding: nonsense\nx = 1\n"])
def test_source_that_cannot_be_parsed_has_none(tmp_path: Path, source: str | bytes) -> None:
    assert parse_module(module_file(tmp_path, source)) == ("", [])


def test_a_declared_encoding_is_heeded(tmp_path: Path) -> None:
    source = b'# coding: latin-1\ndef f():\n    """caf\xe9"""\n'
    assert parse_module(module_file(tmp_path, source))[1][0].text == "café"


def test_modules_of_a_tree(tmp_path: Path) -> None:
    for name in (
        "__init__.py",
        "a.py",
        "b/__init__.py",
        "b/_c.py",
        "tests/__init__.py",
        "b/test_x.py",
        "d-e.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [m.name for m in find_modules(tmp_path, "p")] == ["p", "p.a", "p.b", "p.b._c"]
    assert [m.name for m in find_modules(tmp_path)] == ["a", "b", "b._c"]


def test_c_modules_are_inspected() -> None:
    own, found = inspect_module("math")
    assert "mathematical functions" in own
    assert "sqrt" in {d.name for d in found}
    _, found = inspect_module("itertools")
    assert "chain.from_iterable" in {d.name for d in found}
    assert not [d for d in found if any(part.startswith("_") for part in d.name.split("."))]


def test_a_module_that_this_python_lacks_has_none() -> None:
    assert inspect_module("no_such_module_at_all") == ("", [])


def test_what_a_package_put_into_a_standard_module_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning replaces `warnings.formatwarning`: the corpus must not hang on what was imported before."""
    before = inspect_module("heapq")
    assert any(found.name == "heappush" for found in before[1])

    def heappush(*_: object) -> None:
        """Another package's."""

    heappush.__module__ = "another_package.patches"
    monkeypatch.setattr("heapq.heappush", heappush)
    texts = {found.text for found in inspect_module("heapq")[1]}
    assert "Another package's." not in texts
    assert texts < {found.text for found in before[1]}


def test_only_modules_of_the_standard_library_are_ever_imported() -> None:
    assert {name.partition(".")[0] for name in C_MODULES} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        (
            "heapq - Heap queue algorithm (a.k.a. priority queue).\n\nMore.",
            "Heap queue algorithm (a.k.a. priority queue).",
        ),
        ("Abstract Base\nClasses. And more of it.", "Abstract Base Classes."),
        ("distutils.ccompiler\n\nContains the class.", "Contains the class."),
        ("functools.py - Tools\n", "Tools"),
        ("=====\nTitle\n=====", "Title"),
        ("", ""),
        ("module", ""),
    ],
)
def test_synopses(docstring: str, line: str) -> None:
    names = {"heapq": "heapq", "distutils": "distutils.ccompiler", "functools": "functools"}
    assert synopsis(docstring, names.get(docstring.partition(".")[0].split(" ")[0], "x.module")) == line
