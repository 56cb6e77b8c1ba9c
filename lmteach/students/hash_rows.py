"""Texts by their hashes, at 16 bytes each, and rows by hash, at 24: Python's own would take six times that.

Shape legend: n hashes known, m looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

HASH_BYTES = 16
SMALL = 65_536  # hashes that a dictionary holds before they join the sorted ones

Halves = npt.NDArray[np.uint64]


def text_hash(text: str) -> bytes:
    """Return the 16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


class Hashes(Sequence[bytes]):
    """The hashes of some texts, side by side in one array."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @classmethod
    def of(cls, texts: Iterable[str]) -> Hashes:
        """Hash texts, which are held one by one."""
        raw = bytearray()
        for text in texts:
            raw += text_hash(text)
        return cls(bytes(raw))

    def __len__(self) -> int:
        return len(self.raw) // HASH_BYTES

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Hashes: ...
    def __getitem__(self, index: int | slice) -> bytes | Hashes:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self)), dtype=np.int64))
        i = range(len(self))[index]
        return self.raw[i * HASH_BYTES : (i + 1) * HASH_BYTES]

    def take(self, places: npt.NDArray[np.int64]) -> Hashes:
        """Return those at some places."""
        return Hashes(np.frombuffer(self.raw, f"V{HASH_BYTES}")[places].tobytes())

    def first_of_each(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those places whose text stands at no earlier one, in order: a text twice is read once."""
        high_n, low_n = _halves(self.take(places).raw)
        order = np.lexsort((places, low_n, high_n))
        first = np.ones(len(order), np.bool_)
        high_n, low_n = high_n[order], low_n[order]
        first[1:] = (high_n[1:] != high_n[:-1]) | (low_n[1:] != low_n[:-1])
        return np.sort(places[order[first]])


class HashRows:
    """Rows numbered as their hashes are added; of equal hashes the last one counts."""

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._high_n: Halves = np.empty(0, np.uint64)  # sorted, with the other halves as the second key
        self._low_n: Halves = np.empty(0, np.uint64)
        self._row_n: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, raw: bytes) -> None:
        """Number the hashes that follow each other in `raw`."""
        n_new = len(raw) // HASH_BYTES
        if len(self._recent) + n_new > max(SMALL, len(self._row_n) // 8):
            known = b"".join(self._recent)
            rows = [*self._recent.values(), *range(self._n, self._n + n_new)]
            self._recent = {}
            self._join(known + raw, np.asarray(rows, np.int64))
        else:
            for i in range(n_new):
                self._recent[raw[i * HASH_BYTES : (i + 1) * HASH_BYTES]] = self._n + i
        self._n += n_new

    def _join(self, raw: bytes, rows_m: npt.NDArray[np.int64]) -> None:
        high_m, low_m = _halves(raw)
        high, low = np.concatenate([self._high_n, high_m]), np.concatenate([self._low_n, low_m])
        rows = np.concatenate([self._row_n, rows_m])
        order = np.lexsort((rows, low, high))
        self._high_n, self._low_n, self._row_n = high[order], low[order], rows[order]

    def find(self, hashes: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return each hash's row, -1 where it has none."""
        found_m = np.full(len(hashes), -1, np.int64)
        if len(self._row_n) and len(hashes):
            high_m, low_m = _halves(hashes.raw if isinstance(hashes, Hashes) else b"".join(hashes))
            at_m = np.searchsorted(self._high_n, high_m, side="right") - 1
            open_m = np.arange(len(hashes))
            while len(open_m):  # a second lap only where two hashes share their first half
                open_m = open_m[(at_m[open_m] >= 0) & (self._high_n[at_m[open_m]] == high_m[open_m])]
                right = self._low_n[at_m[open_m]] == low_m[open_m]
                found_m[open_m[right]] = self._row_n[at_m[open_m[right]]]
                open_m = open_m[~right]
                at_m[open_m] -= 1
        if self._recent:
            for i, own in enumerate(hashes):
                found_m[i] = self._recent.get(own, found_m[i])
        return found_m


def _halves(raw: bytes) -> tuple[Halves, Halves]:
    both = np.frombuffer(raw, np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()
