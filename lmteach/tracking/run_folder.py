"""A run's folder: who may write in it, what lies where, and how a file is written whole or not at all.

recipe.yaml      the resolved recipe; runs again as it is
manifest.json    versions, seeds, fingerprints of data and model
metrics.jsonl    a line a cycle and one final line
cycles/NN/       shortlist, verdicts, annotations and student of a cycle
student/         the best cycle's student
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from lmteach.errors import RunError


class RunFolder:
    """The layout of one run's folder, and the lock that keeps a second process out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def student(self) -> Path:
        return self.path / "student"

    def cycle(self, number: int) -> Path:
        """Return the folder of a cycle, made if need be."""
        folder = self.path / "cycles" / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def lock(self) -> None:
        """Take the folder for this process until `unlock` or the process's end, however it ends.

        Raises:
            RunError: another process has it.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise RunError(
                f"Another fit ({owner}) is writing here.",
                where=str(self.path),
                mend="Wait for it, or give this run its own folder: run.folder=runs/OTHER.",
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, allow_nan=True) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line cut short by a kill is left out."""
        if not self.metrics.is_file():
            return []
        events = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return events


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file or folder under another name, then rename it: after a kill it is there whole or not at all.

    Args:
        write: given the temporary path, writes there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
