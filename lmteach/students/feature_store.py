"""Frozen backbones' vectors on disk: appended once per text, read by row, shared by every later run.

    FINGERPRINT-MAXTOKENS-PRECISION/LAYER-POOLING-DTYPE/
        vectors.bin   n rows of D numbers
        texts.bin     n hashes of 16 bytes: the text of each row
        about.json    D, for whoever looks

Vectors are written before the hashes that announce them, so that what a kill leaves behind is cut off by the
next writer and never read. Shape legend: n rows, m rows asked for, D dimensions.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from lmteach.corpus.blocks import stretches
from lmteach.errors import StoreError
from lmteach.students.hash_rows import HASH_BYTES, HashRows
from lmteach.tracking.run_folder import read_json, write_json

StorageType = Literal["fp16", "fp32"]
Rows = npt.NDArray[np.int64]
_DTYPES: dict[str, type[np.floating[Any]]] = {"fp16": np.float16, "fp32": np.float32}


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
        self._rows = HashRows()
        self._vectors: IO[bytes] | None = None
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
            file.seek(len(self) * HASH_BYTES)
            found = file.read()
        whole = found[: len(found) // HASH_BYTES * HASH_BYTES]
        self._rows.add(whole)
        if whole:
            self._open()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, hashes: Sequence[bytes]) -> Rows:
        """Return each text's row, -1 where it has none."""
        return self._rows.find(hashes)

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
                vectors.truncate(len(self) * width)  # cut off what a killed writer left unannounced
                vectors.seek(0, os.SEEK_END)
                vectors.write(kept_mD.tobytes())
                vectors.flush()
                texts.truncate(len(self) * HASH_BYTES)
                texts.seek(0, os.SEEK_END)
                texts.write(b"".join(hashes))
            self.refresh()

    def read(self, rows_m: Rows) -> npt.NDArray[np.float32]:
        """Return vectors [m, D] by row.

        They are read, not mapped: of a mapped file the system keeps whole neighbourhoods of what is touched in this
        process' memory, by its own measure.

        Raises:
            StoreError: the file ends before a row, or cannot be read.
        """
        order = np.argsort(rows_m, kind="stable")  # by place on disk
        stored_mD = np.empty((len(rows_m), self.dim), self.dtype)
        wanted = rows_m[order]
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"row {wanted[0] if wanted[0] < 0 else wanted[-1]} of {len(self)}")
        for side_by_side in stretches(wanted):
            self._read_into(stored_mD[side_by_side], int(wanted[side_by_side.start]))
        vectors_mD = np.empty((len(rows_m), self.dim), np.float32)
        vectors_mD[order] = stored_mD
        return vectors_mD

    def _read_into(self, target_rD: npt.NDArray[Any], first: int) -> None:
        """Read rows that follow each other."""
        assert self._vectors is not None
        width = self.dim * self.dtype.itemsize
        left, offset = target_rD.data.cast("B"), first * width
        while left:
            n_read = os.preadv(self._vectors.fileno(), [left], offset)
            if not n_read:
                raise StoreError("vectors.bin became shorter while it was read.", where=str(self.folder))
            left, offset = left[n_read:], offset + n_read

    def _open(self) -> None:
        width = self.dim * self.dtype.itemsize
        path = self.folder / "vectors.bin"
        if not path.is_file() or path.stat().st_size < len(self) * width:
            raise StoreError(
                f"vectors.bin holds fewer than the {len(self):,} vectors it should.",
                where=str(self.folder),
                mend="Remove this folder; its vectors will be computed again.",
            )
        if self._vectors is None:
            self._vectors = path.open("rb", buffering=0)
            # Rows are drawn at random: reading ahead would only keep the disk busy.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._vectors.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

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
