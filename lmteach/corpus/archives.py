"""The files in an archive or folder, opened alike."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from lmteach.errors import CorpusError

DAMAGED = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile),
    RuntimeError,  # zipfile's for a password, and for an unknown method its subclass
)
Members = Mapping[PurePosixPath, Callable[[], IO[bytes]]]


@contextmanager
def opened(origin: Path) -> Iterator[Members]:
    """Open a .zip or .tar archive or a folder as its files' paths, each with what opens it, in the archive's order.

    What macOS puts beside the files is left out.

    Raises:
        CorpusError: there is nothing, or something else.
        DAMAGED: it is damaged, encrypted, or compressed in a way that Python does not know.
    """
    with _all_files(origin) as members:
        yield {path: open_file for path, open_file in members.items() if not path.name.startswith("._")}


@contextmanager
def _all_files(origin: Path) -> Iterator[Members]:
    if origin.is_dir():
        files = sorted(path for path in origin.rglob("*") if path.is_file())
        yield {PurePosixPath(p.relative_to(origin).as_posix()): partial(_open_file, p) for p in files}
    elif not origin.exists():
        raise CorpusError("There is no such file or folder.", where=str(origin))
    elif zipfile.is_zipfile(origin):
        with zipfile.ZipFile(origin) as zipped:
            entries = [entry for entry in zipped.infolist() if not entry.is_dir()]
            yield {PurePosixPath(entry.filename): partial(zipped.open, entry) for entry in entries}
    elif tarfile.is_tarfile(origin):
        with tarfile.open(origin) as tarred:
            members = [member for member in tarred.getmembers() if member.isfile()]
            _read_to_the_end(tarred)
            yield {PurePosixPath(m.name): partial(_open_member, tarred, m) for m in members}
    else:
        raise CorpusError(
            "This is neither a folder nor a .zip or .tar archive.",
            where=str(origin),
            mend="If it should be one, it is damaged: fetch it again.",
        )


def _read_to_the_end(tarred: tarfile.TarFile) -> None:
    """Have what compressed an archive verify its checksum, which lies behind all that tarfile reads."""
    while tarred.fileobj is not None and tarred.fileobj.read(1 << 20):
        pass


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_member(tarred: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], tarred.extractfile(member))
