"""Room for what grows with the corpus: in memory while it is small, else in a file that is mapped into it.

Shape legend: n texts, D dimensions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt

from lmteach.token_batches import WINDOW

LARGEST = 1 << 30  # bytes of one array in memory
LARGEST_TOKENS = 1 << 28  # bytes of token ids in memory


def new_vectors(n: int, dim: int, folder: Path | None = None) -> npt.NDArray[np.float32]:
    """Return an array [n, D] to write to; above `LARGEST` bytes it lies in a file without a name.

    Args:
        folder: where the file takes its space; the system's temporary folder if None. The space is free again
            when the array is gone, however the process ends.
    """
    if n * dim * 4 <= LARGEST:
        return np.empty((n, dim), dtype=np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:  # the map keeps it alive
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(n, dim))


class TokenIds(Sequence[list[int]]):
    """The token ids of n texts, made in windows: neither all texts nor Python's numbers are held.

    An id takes two bytes, or four where a window holds one above 65,535. Above `largest` bytes they lie in a file
    without a name and are read from it as they are asked for.

    Args:
        tokenize: texts to lists of token ids.
        texts: may be read as they are asked for.
        folder: where that file takes its space; the system's temporary folder if None.
        largest: bytes that may be held.
    """

    def __init__(
        self,
        tokenize: Callable[[Sequence[str]], list[list[int]]],
        texts: Sequence[str],
        *,
        folder: Path | None = None,
        largest: int = LARGEST_TOKENS,
    ) -> None:
        self._folder, self._largest, self._n = folder, largest, len(texts)
        self._windows: list[npt.NDArray[np.integer] | _Stretch] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        self._file: IO[bytes] | None = None
        n_bytes = 0
        for start in range(0, len(texts), WINDOW):
            made = tokenize(texts[start : start + WINDOW])
            self._starts.append(np.cumsum([0, *map(len, made)], dtype=np.int64))
            window = np.fromiter((i for ids in made for i in ids), np.int32)
            window = window.astype(np.uint16) if window.max(initial=0) <= 0xFFFF else window
            n_bytes += window.nbytes
            self._windows.append(self._put_away(window) if n_bytes > largest else window)

    def _put_away(self, window: npt.NDArray[np.integer]) -> _Stretch:
        """Write a window to the file."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        stretch = _Stretch(self._file.tell(), window.dtype)
        self._file.write(window.tobytes())
        self._file.flush()
        return stretch

    def __len__(self) -> int:
        return self._n

    @property
    def lengths_n(self) -> npt.NDArray[np.int64]:
        """How many tokens each text has."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(starts) for starts in self._starts)])

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n))]
        if not -self._n <= index < self._n:
            raise IndexError(f"text {index} of {self._n}")
        place, i = divmod(index % self._n, WINDOW)
        first, end = self._starts[place][i : i + 2].tolist()
        window = self._windows[place]
        if isinstance(window, _Stretch):
            assert self._file is not None
            return window.read(self._file.fileno(), first, end)
        found: list[int] = window[first:end].tolist()
        return found


@dataclass(frozen=True)
class _Stretch:
    """Where in a file a window lies."""

    offset: int
    dtype: np.dtype[Any]

    def read(self, file: int, first: int, end: int) -> list[int]:
        """Return the numbers from `first` to `end`, whoever else reads the file at the same time."""
        width = self.dtype.itemsize
        raw = os.pread(file, (end - first) * width, self.offset + first * width)
        found: list[int] = np.frombuffer(raw, self.dtype).tolist()
        return found
