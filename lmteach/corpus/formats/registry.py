"""The formats a corpus may come in, and which one a folder holds."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from lmteach.corpus.records import ReadOptions, Source
from lmteach.errors import CorpusError, nearest_name

# Name in a recipe -> module with LOOKS_FOR, detect(path) and open_source(path, options); asked in this order.
FORMATS = {
    "jsonl": "lmteach.corpus.formats.jsonl",
    "csv": "lmteach.corpus.formats.csv",
    "parquet": "lmteach.corpus.formats.parquet",
    "huggingface": "lmteach.corpus.formats.huggingface",
    "xmc": "lmteach.corpus.formats.xmc",
    "pecos": "lmteach.corpus.formats.pecos",
}


def open_corpus(path: Path, format: str, options: ReadOptions) -> Source:
    """Find what is at `path`, by the named format or, for `auto`, by the files that are there.

    Raises:
        CorpusError: nothing there, no such format, or nothing that fits it.
    """
    if format == "auto":
        return _detect(path).open_source(path, options)  # type: ignore[no-any-return]
    if format not in FORMATS:
        raise CorpusError(f"There is no corpus format '{format}'.", nearest=nearest_name(format, FORMATS))
    module = _module(format)
    if not module.detect(path):
        raise _nothing_fits(path, {format: module})
    return module.open_source(path, options)  # type: ignore[no-any-return]


def _detect(path: Path) -> ModuleType:
    modules = {name: _module(name) for name in FORMATS}
    for module in modules.values():
        if module.detect(path):
            return module
    raise _nothing_fits(path, modules)


def _module(format: str) -> ModuleType:
    return importlib.import_module(FORMATS[format])


def _nothing_fits(path: Path, modules: dict[str, ModuleType]) -> CorpusError:
    if not path.exists():
        return CorpusError("There is no such file or folder.", where=str(path))
    there = (
        ", ".join(sorted(p.name for p in path.iterdir())[:12]) if path.is_dir() else "a file of another kind"
    )
    looked = "\n".join(f"  {name}: {module.LOOKS_FOR}" for name, module in modules.items())
    return CorpusError(
        f"No corpus was found here; there is: {there or 'nothing'}.",
        where=str(path),
        mend=f"Looked for\n  {looked.lstrip()}",
    )
