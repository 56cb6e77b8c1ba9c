"""The commands, Python and YAML that the documentation shows, and a folder such as its reader would have."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmteach import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Return every fenced block of the documentation, in order."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(path.relative_to(ROOT)), line, match[1], match[2]))
    return found


def command_lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command in a block without a language or of a shell; comments are left out."""
    if block.language not in ("", "sh", "bash", "console", "shell"):
        return
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        line = line.removeprefix("$ ")
        if re.match(r"[A-Za-z./]", line) and not re.match(r"\w+: ", line):  # the latter is what was answered
            yield shlex.split(line, comments=True)


@pytest.fixture(scope="session")
def reader(finished_run: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: runs of the names the pages use, a store, texts, and the plugins they write."""
    from lmteach.teaching.store import Store

    folder = tmp_path_factory.mktemp("reader")
    for name in ("lmtx_quickstart", "lmtx_debtags", "debtags_oracle", "a", "b", "c"):
        shutil.copytree(finished_run[0], folder / "runs" / name)
    (folder / "recipes").symlink_to(ROOT / "recipes")
    Store.open(folder / "runs" / "store.sqlite").close()
    notes = ["Read a file line by line.", "Bread from the oven."]
    (folder / "docs.jsonl").write_text("".join(json.dumps({"text": note}) + "\n" for note in notes))
    for block in blocks():
        name = re.match(r"# (\w+\.py)\n", block.text)
        if block.language == "python" and name:
            (folder / name[1]).write_text(block.text)
        name = re.search(r"--recipe (\w+\.yaml)\n", block.text)
        if block.language == "yaml" and name:
            (folder / name[1]).write_text(block.text)
    return folder


@pytest.fixture
def at_home(reader: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Work in the reader's folder, with the plugin `mine` of docs/plugins.md as if installed."""
    from lmteach.scaffold.package import write_package

    monkeypatch.chdir(reader)
    if "mine" in {entry.name for entry in registry.entries("teacher")}:  # whoever followed the page has it
        yield reader
        return
    package = write_package("teacher", "mine", tmp_path)[0].parent
    info = tmp_path / "lmteach_mine-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmteach-mine\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[lmteach.teachers]\nmine = lmteach_mine.teacher:MineTeacher\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(package / "src"), *sys.path])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{package / 'src'}")
    importlib.invalidate_caches()
    entries = registry.entries  # a test may put another in its place
    entries.cache_clear()
    yield reader
    entries.cache_clear()
    registry._load_announced.cache_clear()
    for name in [name for name in sys.modules if name.startswith("lmteach_mine")]:
        del sys.modules[name]
