"""The corpus `python-docs`: docstrings as documents, modules as labels. Real text and gold on every machine.

A document is the docstring of a public function, class or method; its labels are its module and the packages
above it. A module that holds none of them but has a synopsis is a label too, as real tag lists have such.
Names are no part of the text, other than where a docstring itself mentions them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from lmteach.corpus.docstrings import (
    C_MODULES,
    Docstring,
    ModuleFile,
    find_modules,
    inspect_module,
    parse_module,
    synopsis,
)
from lmteach.corpus.records import ReadOptions, Record, Source
from lmteach.errors import CorpusError, nearest_name

STDLIB = "stdlib"
MIN_WORDS = 5  # shorter docstrings say too little to tell a module by
TEST_SHARE = 0.35
_CODEC_TABLES = "encodings."  # over a hundred generated modules, alike but for a number
_PURE_TWINS = {"_collections_abc": "collections.abc"}  # and any _pyNAME stands for NAME


def open_source(options: ReadOptions) -> Source:
    """Return the corpus of the packages in `options.packages`; `stdlib` names the standard library.

    Raises:
        CorpusError: a package is not installed.
    """
    modules = [module for package in options.packages for module in _modules(package)]
    with_c = STDLIB in options.packages

    @cache
    def collected() -> _Collected:
        return _collect(modules, with_c)

    return Source(
        files=tuple(module.path for module in modules),
        splits={
            "train": lambda: _records(collected(), "train"),
            "test": lambda: _records(collected(), "test"),
        },
        labels=lambda: _label_records(collected()),
        version=" ".join(
            [platform.python_implementation(), platform.python_version(), *map(_version, options.packages)]
        ),
    )


class _Collected:
    """All documents with their labels, and each label's synopsis."""

    def __init__(self) -> None:
        self.documents: list[tuple[Docstring, str]] = []
        self.synopses: dict[str, str] = {}
        self._seen: set[str] = set()

    def add(self, docstrings: Sequence[Docstring], label: str) -> None:
        """Keep the docstrings that are long enough and that nothing before said in the same words."""
        for docstring in docstrings:
            words = docstring.text.split()
            key = " ".join(words)
            if len(words) >= MIN_WORDS and key not in self._seen:
                self._seen.add(key)
                self.documents.append((docstring, label))


def _modules(package: str) -> list[ModuleFile]:
    if package == STDLIB:
        return find_modules(Path(sysconfig.get_paths()["stdlib"]))
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        known = {name for name in importlib.metadata.packages_distributions() if not name.startswith("_")}
        raise CorpusError(
            f"The package '{package}' is not installed.",
            where="corpus.packages",
            nearest=nearest_name(package, {STDLIB, *known}),
            mend=f"pip install {package}",
        )
    if spec.submodule_search_locations:
        return [m for root in spec.submodule_search_locations for m in find_modules(Path(root), package)]
    return [ModuleFile(package, Path(spec.origin))] if spec.origin and spec.origin.endswith(".py") else []


def _version(package: str) -> str:
    distributions = importlib.metadata.packages_distributions().get(package, [])
    return ",".join(f"{d}={importlib.metadata.version(d)}" for d in sorted(set(distributions))) or package


def _collect(modules: Sequence[ModuleFile], with_c: bool) -> _Collected:
    """Parse every module, public ones first, so that a text that several share goes to a public one."""
    collected = _Collected()
    for module in sorted(modules, key=lambda m: (_is_private(m.name.rpartition(".")[2]), m.name)):
        label = public_home(module.name)
        if label is None:
            continue
        own, docstrings = parse_module(module)
        if label == module.name:
            collected.synopses[label] = synopsis(own, label)
        collected.add(docstrings, label)
    for name in C_MODULES if with_c else ():
        own, docstrings = inspect_module(name)
        collected.synopses.setdefault(name, synopsis(own, name))
        collected.add(docstrings, name)
    return collected


def public_home(module: str) -> str | None:
    """Return the public module whose documents a module holds, None if it holds nobody's.

    A private module `a.b._c` holds those of `a.b`; the pure Python twin of a C module holds that module's.
    """
    if module in _PURE_TWINS:
        return _PURE_TWINS[module]
    twin = module.removeprefix("_py").lstrip("_")
    if module.startswith("_py") and twin in sys.stdlib_module_names:
        return twin
    *above, last = module.split(".")
    if any(map(_is_private, above)):
        return None
    return module if not _is_private(last) else (".".join(above) or None)


def _is_private(name: str) -> bool:
    return name.startswith("_")


def labels_of(module: str) -> list[str]:
    """Return a module and the packages above it, outermost first."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def split_of(document_id: str) -> str:
    """Return the split of a document: a pure function of its id, so that it is the same on every machine."""
    draw = int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "big") / 2**64
    return "test" if draw < TEST_SHARE else "train"


def _label_records(collected: _Collected) -> Iterator[Record]:
    """Yield every module that holds a document or has a synopsis, and the packages above it, by name."""
    bearing = {label for _, label in collected.documents}
    described = {m for m, line in collected.synopses.items() if line and not m.startswith(_CODEC_TABLES)}
    names = sorted({name for module in bearing | described for name in labels_of(module)})
    for n, name in enumerate(names, 1):
        yield Record({"name": name, "description": collected.synopses.get(name, "")}, "python-docs labels", n)


def _records(collected: _Collected, split: str) -> Iterator[Record]:
    taken: set[str] = set()
    for n, (docstring, label) in enumerate(collected.documents, 1):
        id_ = f"{docstring.module}.{docstring.name}"
        while id_ in taken:  # one name defined anew under another condition
            id_ += "'"
        taken.add(id_)
        if split_of(id_) == split:
            yield Record({"id": id_, "text": docstring.text, "labels": labels_of(label)}, "python-docs", n)
