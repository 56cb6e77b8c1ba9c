"""A folder for as long as some work takes; one that a killed process left is removed by the next."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_YOUNG_SECONDS = 60  # one that was just made may not be locked yet


@contextmanager
def scratch_folder(root: Path, prefix: str) -> Iterator[Path]:
    """Make a folder `root/prefix...`, locked while it is in use; remove it afterwards, and unused ones before.

    Raises:
        OSError: it cannot be made.
    """
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, another user's, or gone by now
            if time.time() - old.stat().st_mtime > _YOUNG_SECONDS:
                _remove_unused(old)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    try:
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unused(folder: Path) -> None:
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
