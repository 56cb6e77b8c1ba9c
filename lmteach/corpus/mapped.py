"""An Arrow file mapped into memory, but for its strings: those are read, so that memory does not grow with them.

Of a mapped file the system keeps whole neighbourhoods of what is touched in this process' memory, by its own measure
and until the machine is short of it. So the map serves for what is small, and strings come by ordinary reads.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmteach.corpus.blocks import stretches
from lmteach.errors import CorpusError


class MappedTable:
    """The table in an Arrow IPC file.

    Raises:
        CorpusError: it is no readable Arrow file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            buffer = pa.py_buffer(self._map)
            self.table: Any = pa.ipc.open_file(buffer).read_all()
        except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a file of no bytes
            raise CorpusError(f"This cached corpus cannot be read: {error}", where=str(path)) from error
        self._address = buffer.address

    def strings(self, column: str, chunk: int, rows: npt.NDArray[np.int64]) -> list[str]:
        """Read strings of one chunk of a column without nulls, in the order of `rows`.

        Raises:
            CorpusError: the file ends before them.
        """
        array = self.table.column(column).chunk(chunk)
        _, offsets, data = array.buffers()
        starts = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
        base = data.address - self._address if data is not None else 0
        order = np.argsort(rows, kind="stable")
        wanted, found = rows[order], [""] * len(rows)
        for side_by_side in stretches(wanted):
            bounds = starts[wanted[side_by_side][0] : wanted[side_by_side][-1] + 2].astype(np.int64)
            block = self._read(base + int(bounds[0]), int(bounds[-1] - bounds[0]))
            cuts = (bounds - bounds[0]).tolist()
            for i, place in enumerate(order[side_by_side].tolist()):
                found[place] = block[cuts[i] : cuts[i + 1]].decode()
        return found

    def _read(self, offset: int, n_bytes: int) -> bytes:
        parts = []
        while n_bytes:
            part = os.pread(self._file.fileno(), n_bytes, offset)
            if not part:
                raise CorpusError(
                    "This cached corpus became shorter while it was read.", where=str(self.path)
                )
            parts.append(part)
            offset, n_bytes = offset + len(part), n_bytes - len(part)
        return b"".join(parts)
