"""Frozen backbones' vectors on disk: appended once per text, memory-mapped, shared by every later run.

    FINGERPRINT-MAXTOKENS-PRECISION/LAYER-POOLING-DTYPE/
        vectors.bin   n rows of D numbers
        texts.bin     n hashes of 16 bytes: the text of each row
        about.json    D, for whoever looks

Vectors are written before the hashes that announce them, so that what a kill leaves behind is cut off by the
next writer and never read. Shape legend: n rows, m rows asked for, D dimensions.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmteach.errors import StoreError
from lmteach.tracking.run_folder import read_json, write_json

StorageType = Literal["fp16", "fp32"]
Rows = npt.NDArray[np.int64]
HASH_BYTES = 16
RESIDENT_BYTES = 64 << 20  # of a column's mapped pages before they are given back: what bounds memory
_DTYPES: dict[str, type[np.floating[Any]]] = {"fp16": np.float16, "fp32": np.float32}


def text_hash(text: str) -> bytes:
    """Return the 16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


class FeatureColumn:
    """The vectors of one backbone, layer and pooling.

    Args:
        folder: made if need be.
        dim: D.
        dtype: how numbers are stored; read back as fp32.

    Raises:
        StoreError: the folder holds vectors of another width.
    """

    def __init__(self, folder: Path, dim: int, dtype: StorageType) -> None:
        self.folder, self.dim, self.dtype = folder, dim, np.dtype(_DTYPES[dtype])
        self._rows: dict[bytes, int] = {}
        self._n = 0
        self._map: mmap.mmap | None = None
        self._view: npt.NDArray[Any] = np.empty((0, dim), self.dtype)
        self._touched = 0
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "about.json"
        if not about.is_file():
            write_json(about, {"dim": dim, "dtype": dtype})
        elif read_json(about)["dim"] != dim:
            raise StoreError(
                f"These vectors have width {read_json(about)['dim']}, not {dim}.", where=str(folder)
            )
        self.refresh()

    def refresh(self) -> None:
        """Learn of rows that another process has appended."""
        path = self.folder / "texts.bin"
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self._n * HASH_BYTES)
            found = file.read()
        n_new = len(found) // HASH_BYTES
        for i in range(n_new):
            self._rows[found[i * HASH_BYTES : (i + 1) * HASH_BYTES]] = self._n + i
        self._n += n_new
        if n_new:
            self._remap()

    def __len__(self) -> int:
        return self._n

    def find(self, hashes: Sequence[bytes]) -> Rows:
        """Return each text's row, -1 where it has none."""
        get = self._rows.get
        return np.fromiter((get(h, -1) for h in hashes), np.int64, len(hashes))

    def append(self, hashes: Sequence[bytes], vectors_mD: npt.NDArray[np.float32]) -> None:
        """Add texts and their vectors.

        Raises:
            StoreError: a number is beyond the range of fp16.
        """
        with np.errstate(over="ignore"):  # said below, with the way out
            kept_mD = vectors_mD.astype(self.dtype)
        if not np.isfinite(kept_mD).all():
            raise StoreError(
                f"{(~np.isfinite(kept_mD)).any(axis=1).sum()} of {len(hashes)} vectors hold numbers that "
                f"{self.dtype} cannot.",
                where=str(self.folder),
                mend="Set the backbone's stored: fp32; if it is, its precision: fp32.",
            )
        with self._locked():
            self.refresh()
            width = self.dim * self.dtype.itemsize
            with (self.folder / "vectors.bin").open("ab") as vectors, self._texts() as texts:
                vectors.truncate(self._n * width)  # cut off what a killed writer left unannounced
                vectors.seek(0, os.SEEK_END)
                vectors.write(kept_mD.tobytes())
                vectors.flush()
                texts.truncate(self._n * HASH_BYTES)
                texts.seek(0, os.SEEK_END)
                texts.write(b"".join(hashes))
            self.refresh()

    def read(self, rows_m: Rows) -> npt.NDArray[np.float32]:
        """Return vectors [m, D] by row. Memory does not grow with what was read before."""
        order = np.argsort(rows_m, kind="stable")  # by place on disk
        vectors_mD = np.empty((len(rows_m), self.dim), np.float32)
        vectors_mD[order] = self._view[rows_m[order]]
        self._touched += len(rows_m) * max(self.dim * self.dtype.itemsize, mmap.PAGESIZE)
        if self._touched > RESIDENT_BYTES and self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)  # the system's own cache of the file stays
            self._touched = 0
        return vectors_mD

    def _remap(self) -> None:
        width = self.dim * self.dtype.itemsize
        path = self.folder / "vectors.bin"
        if not path.is_file() or path.stat().st_size < self._n * width:
            raise StoreError(
                f"vectors.bin holds fewer than the {self._n:,} vectors it should.",
                where=str(self.folder),
                mend="Remove this folder; its vectors will be computed again.",
            )
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), self._n * width, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_RANDOM)  # rows are drawn at random: reading ahead would only fill memory
        self._view = np.frombuffer(self._map, self.dtype).reshape(self._n, self.dim)

    def _texts(self) -> Any:
        return (self.folder / "texts.bin").open("ab")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class MemoryColumn:
    """The same in memory, for texts that are seen once.

    Args:
        n: texts, each at the row of its position.
        dtype: vectors are rounded as the store would.
    """

    def __init__(self, n: int, dim: int, dtype: StorageType) -> None:
        self.dim = dim
        self.vectors_nD = np.zeros((n, dim), _DTYPES[dtype])

    def read(self, rows_m: Rows) -> npt.NDArray[np.float32]:
        """Return vectors [m, D] by row."""
        found: npt.NDArray[np.float32] = self.vectors_nD[rows_m].astype(np.float32)
        return found
