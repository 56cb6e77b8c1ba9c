"""Room for what grows with the corpus: in memory while it is small, else in a file that is mapped into it.

Shape legend: n texts, D dimensions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

LARGEST = 1 << 30  # bytes of one array in memory
WINDOW = 16_384  # texts tokenized at a time


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
    """The token ids of n texts at four bytes each, made in windows: neither all texts nor Python's numbers are held.

    Args:
        tokenize: texts to lists of token ids.
        texts: may be read as they are asked for.
    """

    def __init__(self, tokenize: Callable[[Sequence[str]], list[list[int]]], texts: Sequence[str]) -> None:
        self._windows: list[npt.NDArray[np.int32]] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(texts), WINDOW):
            made = tokenize(texts[start : start + WINDOW])
            self._starts.append(np.cumsum([0, *map(len, made)], dtype=np.int64))
            self._windows.append(np.fromiter((i for ids in made for i in ids), np.int32))
        self._n = len(texts)

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
        window, i = divmod(index % self._n, WINDOW)
        starts = self._starts[window]
        found: list[int] = self._windows[window][starts[i] : starts[i + 1]].tolist()
        return found
