"""Files opened for reading, decompressed on the way; a truncated one never passes for a short one."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

from lmteach.errors import CorpusError, missing_package

_READ_AT_ONCE = 1 << 18


class ByteStream(Protocol):
    """As much of a binary file as reading needs; `read` may return more than it was asked for."""

    def read(self, size: int, /) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *details: Any) -> None: ...


def open_binary(path: Path) -> ByteStream:
    """Open a file for reading; `.gz` and `.zst` are decompressed on the way.

    Raises:
        CorpusError: it is not there or may not be read.
        PluginError: a `.zst` file, and the package zstandard is not installed.
    """
    try:
        if path.suffix == ".gz":
            return cast(ByteStream, gzip.open(path, "rb"))
        return ZstdStream(path) if path.suffix == ".zst" else cast(ByteStream, path.open("rb"))
    except OSError as error:
        raise CorpusError(f"The file cannot be opened: {error.strerror}.", where=str(path)) from error


class ZstdStream:
    """A Zstandard file of one frame or more. The package's own reader passes over truncation."""

    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise missing_package(
                "zstandard", needed_by=str(path), command="pip install zstandard"
            ) from error
        self._decompressor, self._zstd_error = zstandard.ZstdDecompressor(), zstandard.ZstdError
        self._file = path.open("rb")
        self._frame: Any = None
        self._raw = b""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, empty at the end.

        Raises:
            EOFError: the file ends within a frame.
            OSError: the file is corrupt.
        """
        while True:
            raw = self._raw or self._file.read(_READ_AT_ONCE)
            if not raw:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the file ends within a frame")
                return b""
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            try:
                found: bytes = self._frame.decompress(raw)
            except self._zstd_error as error:
                raise OSError(str(error)) from error
            self._raw = self._frame.unused_data if self._frame.eof else b""
            if found:
                return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
