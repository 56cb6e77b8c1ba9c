"""A run's folder: who may write in it, what lies where, and how a file is written whole or not at all.

recipe.yaml      the resolved recipe; runs again as it is
manifest.json    versions, seeds, fingerprints of data and model
metrics.jsonl    a line a cycle and one final line
cycles/NN/       shortlist, verdicts, annotations and student of a cycle
student/         the best cycle's student
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from lmteach.errors import RunError

TEMPORARY = ".*.tmp"  # what files and folders are called until they are whole


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

    def trained_student(self) -> Path:
        """Return where the student lies.

        Raises:
            RunError: the run has none yet.
        """
        if not self.student.is_dir():
            raise RunError(
                "This run has no student yet.",
                where=str(self.path),
                mend="Go on with it: `lmteach fit --resume`.",
            )
        return self.student

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

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunError("A file stands where the run's folder should be.", where=str(self.path)) from error
        file = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise RunError(
                f"Another fit ({owner}) is writing here.",
                where=str(self.path),
                mend="Wait for it, or give this run its own folder: run.folder=runs/OTHER.",
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        self._lock = file
        for leftover in list(self.path.rglob(TEMPORARY)):  # of a process that was killed while it wrote
            _remove(leftover)

    def busy(self) -> bool:
        """Return whether another process has the folder now."""
        import fcntl

        path = self.path / ".lock"
        if not path.is_file():
            return False
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; after a line that was cut short, on a line of its own."""
        with self.metrics.open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut = file.read() not in (b"", b"\n")
            file.write(("\n" * cut + json.dumps(event, allow_nan=True) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """Return the events of metrics.jsonl; a line cut short by a kill or a full disk is left out."""
        if not self.metrics.is_file():
            return []
        events = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return events


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file or folder under another name, then rename it: after a kill it is there whole or not at all.

    Args:
        write: given the temporary path, writes there.

    Raises:
        OSError: it cannot be written; with an errno and the path, whatever the writer's library said.
    """
    temporary = path.with_name(TEMPORARY.replace("*", f"{path.name}.{os.getpid()}"))
    _remove(temporary)  # in a container the next process often has the same number
    try:
        write(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException as error:
        _remove(temporary)
        number = _disk_trouble(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _disk_trouble(error: BaseException) -> int | None:
    """Return the errno of a failed write, if that is what it is: numpy and Rust libraries say it only in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    words = {"No space left": errno.ENOSPC, "ree space": errno.ENOSPC, "File too large": errno.EFBIG}
    words |= (
        {" requested and ": errno.ENOSPC} if isinstance(error, OSError) else {}
    )  # numpy, of a short write
    return next((number for said, number in words.items() if said in str(error)), None)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
