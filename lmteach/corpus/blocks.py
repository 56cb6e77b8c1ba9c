"""A sequence of strings that are read some at a time: by index, by slice, or block after block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

_READ_AT_ONCE = 1024


def stretches(sorted_n: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Yield which of some sorted rows lie side by side: those are read at once."""
    ends = (np.flatnonzero(np.diff(sorted_n) != 1) + 1).tolist()
    for start, end in zip([0, *ends], [*ends, len(sorted_n)], strict=True):
        if start < end:
            yield slice(start, end)


class ReadInBlocks(Sequence[str]):
    """Strings of which `at` reads some; walked through, they are read a block at a time."""

    @abstractmethod
    def at(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> list[str]:
        """Return some of them, in the order asked for."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self)), dtype=np.int64))
        return self.at([index])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _READ_AT_ONCE):
            yield from self[start : start + _READ_AT_ONCE]
