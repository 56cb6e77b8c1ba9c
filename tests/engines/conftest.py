"""Ray's processes: which are there, and that none stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


def _children_of(pid: int) -> dict[int, str]:
    """Return the command lines of all processes under one, by number."""
    parents, lines = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                lines[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new and child not in found}
        found |= {child: lines.get(child, "") for child in new}
    return found


def _wait_until_gone(pids: set[int], seconds: float = 30.0) -> set[int]:
    """Return those of some processes that are still there after some time."""
    until = time.monotonic() + seconds
    while (left := {pid for pid in pids if _lives(pid)}) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def children_of() -> Callable[[int], dict[int, str]]:
    """Return a function: the command lines of all processes under one, by number."""
    return _children_of


@pytest.fixture(scope="session")
def wait_until_gone() -> Callable[..., set[int]]:
    """Return a function: those of some processes that are still there after half a minute."""
    return _wait_until_gone
