"""Arrays of a run in one npz file, which is there whole or not at all, and the one error where it cannot be read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lmteach.errors import LmteachError, RunError
from lmteach.tracking.run_folder import write_whole

MEND_VERDICTS = "Delete the file; the run makes it anew, from the store."  # where verdicts cannot be read


def write_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Write arrays under their names.

    Raises:
        OSError: they cannot be written; what was there before stays.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # an open file: numpy puts its own suffix behind a path
            (np.savez_compressed if compressed else np.savez)(file, **arrays)

    write_whole(path, write)


@contextmanager
def read_arrays(path: Path, what: str, mend: str) -> Iterator[Any]:
    """Open what `write_arrays` wrote, as a mapping of names to arrays, for as long as the `with` block lasts.

    Args:
        what: what the file holds, for the error's first words: "These verdicts".
        mend: how to come by the file anew.

    Raises:
        RunError: the file is missing or damaged, or the block found something else in it than it looked for.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, LmteachError) as error:
        raise RunError(f"{what} cannot be read: {error}.", where=str(path), mend=mend) from error
