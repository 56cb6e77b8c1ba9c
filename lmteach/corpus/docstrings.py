"""Docstrings of Python modules: parsed from source without importing, or inspected where C wrote them."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Standard modules with functions or types written in C, whose import does nothing but define them.
C_MODULES = (
    "array", "asyncio", "atexit", "binascii", "bisect", "builtins", "bz2", "cmath", "codecs",
    "collections", "contextvars", "csv", "ctypes", "curses", "datetime", "decimal", "errno",
    "faulthandler", "fcntl", "functools", "gc", "grp", "hashlib", "heapq", "hmac", "io", "itertools",
    "locale", "lzma", "marshal", "math", "mmap", "msvcrt", "operator", "os", "pickle", "pwd", "queue",
    "random", "re", "resource", "select", "signal", "socket", "sqlite3", "ssl", "statistics", "struct",
    "sys", "syslog", "termios", "threading", "time", "tracemalloc", "types", "typing", "unicodedata",
    "uuid", "warnings", "weakref", "winreg", "xml.etree.ElementTree", "xml.parsers.expat", "zlib",
)  # fmt: skip
_NOT_CODE = {"__pycache__", "site-packages", "dist-packages", "lib-dynload", "_bundled", "node_modules"}
_TESTS = {"test", "tests", "idle_test", "conftest"}
_NOT_FOR_READING = {"antigravity", "this", "idlelib", "turtledemo", "lib2to3", "__phello__", "pydoc_data"}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class ModuleFile:
    """A module's dotted name and source file."""

    name: str
    path: Path


@dataclass(frozen=True)
class Docstring:
    """The docstring of something public: `module` where it stands, `name` within it, cleaned `text`."""

    module: str
    name: str
    text: str


def find_modules(root: Path, package: str = "") -> list[ModuleFile]:
    """List the source files below `root` as modules, sorted by name; tests and demonstrations are left out.

    Args:
        root: a package's folder, or the folder of the standard library.
        package: the dotted name of `root`; "" for the standard library, whose modules have no package above.
    """
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(n for n in subfolders if n.isidentifier() and not _left_out(n))
        above = [package] if package else []
        above += Path(folder).relative_to(root).parts
        for file in files:
            stem, ending = os.path.splitext(file)
            if ending == ".py" and stem.isidentifier() and not _left_out(stem):
                name = ".".join(above if stem == "__init__" else [*above, stem])
                if name:
                    found.append(ModuleFile(name, Path(folder, file)))
    return sorted(found, key=lambda module: module.name)


def _left_out(name: str) -> bool:
    return name in _NOT_CODE or name in _TESTS or name in _NOT_FOR_READING or name.startswith("test_")


def parse_module(module: ModuleFile) -> tuple[str, list[Docstring]]:
    """Return a module's own docstring and those of its public functions, classes and methods.

    Source that this Python cannot parse (say templates, or code for another version) has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(module.path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return "", []
    found = [
        Docstring(module.name, name, text)
        for name, node in _definitions(tree.body, "")
        if (text := ast.get_docstring(node))
    ]
    return ast.get_docstring(tree) or "", found


def _definitions(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Walk through the public definitions of a module or class, conditional ones included."""
    for node in body:
        if isinstance(node, _Definition):
            if not node.name.startswith("_"):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    yield from _definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for _, value in ast.iter_fields(node):
                if isinstance(value, list):
                    nested = [n for v in value for n in (v.body if isinstance(v, ast.ExceptHandler) else [v])]
                    yield from _definitions([n for n in nested if isinstance(n, ast.stmt)], prefix)


def inspect_module(name: str) -> tuple[str, list[Docstring]]:
    """Return what `parse_module` returns, for a module of `C_MODULES`; nothing where Python lacks it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except ImportError:
        return "", []
    found = []
    for attribute in sorted(_public_names(module)):
        value = getattr(module, attribute, None)
        if not (inspect.isroutine(value) or inspect.isclass(value)):
            continue
        found.append((attribute, value))
        if inspect.isclass(value):
            members = sorted(vars(value).items())
            found += [(f"{attribute}.{n}", m) for n, m in members if n[0] != "_" and inspect.isroutine(m)]
    own = [(n, v) for n, v in found if _is_of_the_library(v)]
    docstrings = [Docstring(name, n, inspect.cleandoc(d)) for n, v in own if (d := _own_doc(v))]
    return inspect.cleandoc(module.__doc__ or ""), docstrings


def _public_names(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is not None:
        return [n for n in names if not n.startswith("_")]
    homes = {module.__name__, "_" + module.__name__}
    return [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", None) in homes]


def _is_of_the_library(value: Any) -> bool:
    """False for what another package put in its place: lightning, say, replaces `warnings.formatwarning`."""
    home = getattr(value, "__module__", None)
    return not isinstance(home, str) or home.partition(".")[0] in sys.stdlib_module_names


def _own_doc(value: Any) -> str | None:
    doc = getattr(value, "__doc__", None)
    return doc if isinstance(doc, str) else None


def synopsis(docstring: str, module: str) -> str:
    """Return a docstring's first sentence on one line, less the module's own name; "" if there is none."""
    own_name = {module, module.rpartition(".")[2], "module"}
    for paragraph in re.split(r"\n\s*\n", docstring):
        words = [word for word in paragraph.split() if word.strip("=-*~#:—")]
        while words and words[0].lower().rstrip(":.,").removesuffix(".py") in {n.lower() for n in own_name}:
            del words[0]
        if words:
            return _SENTENCE_END.split(" ".join(words), maxsplit=1)[0]
    return ""
