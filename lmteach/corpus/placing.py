"""Putting a known set's files where recipes find them: out of an archive or folder, checked, whole or not."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from lmteach.corpus.archives import DAMAGED, opened
from lmteach.corpus.catalog import KnownSet, file_names
from lmteach.corpus.checked import CountedRecords, check_documents, check_labels
from lmteach.corpus.formats.registry import open_corpus
from lmteach.corpus.layouts import Layout
from lmteach.corpus.records import ReadOptions
from lmteach.errors import CorpusError

_SHOWN = 12


def place(known: KnownSet, origin: Path, folder: Path) -> dict[str, int]:
    """Take a set's files out of an archive or folder, check them, and put them into `folder`.

    Args:
        known: the set.
        origin: a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive, or a folder; files may lie at any depth.
        folder: where they are to lie; it comes into being complete or not at all.

    Returns:
        The documents of each split, and under `labels` the labels.

    Raises:
        CorpusError: files are missing or malformed, counts are wrong, `folder` holds files already.
    """
    folder = folder.resolve()
    if folder.is_file():
        raise CorpusError("This is a file.", where=str(folder), mend="Name a folder by --to.")
    if file_names(folder):
        raise CorpusError(
            "There are files here already.",
            where=str(folder),
            mend="Remove the folder, or name another by --to.",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh = Path(scratch, folder.name)
        fresh.mkdir()
        counts = count(known, fresh, _extract(known, origin, fresh), where=str(origin))
        if folder.is_dir():
            folder.rmdir()
        fresh.rename(folder)
    return counts


def count(known: KnownSet, folder: Path, layout: Layout, where: str) -> dict[str, int]:
    """Read a set through, check every document, and return its counts; `where` is named if they are wrong.

    Raises:
        CorpusError: a document or label breaks a rule, or a count is wrong.
    """
    options = ReadOptions(empty="drop")
    source = open_corpus(folder, layout.format, options)
    labels = check_labels(source, options)
    counts = {}
    for split, stream in source.splits.items():
        records = CountedRecords(stream())
        for _ in check_documents(records, split, options, labels):
            pass
        counts[split] = records.n
    known.check_counts(counts, len(labels.labels), where)
    return {**counts, "labels": len(labels.labels)}


def _extract(known: KnownSet, origin: Path, folder: Path) -> Layout:
    """Write the files of the first form that is complete somewhere in `origin`; return how they lie now."""
    try:
        with opened(origin) as members:
            for form, layout in known.forms:
                if homes := form.homes(members):
                    form.write(members, min(homes, key=lambda h: (h.name.lower() != known.name, h)), folder)
                    return layout
            files = sorted(path.name for path in members)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CorpusError(
            f"The archive cannot be read: {error}.",
            where=str(origin),
            mend="Fetch it again, or unpack it and name the folder.",
        ) from error
    shown = ", ".join(files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
    wanted = "; or ".join(", ".join(form.wanted) for form, _ in known.forms)
    raise CorpusError(
        f"{known.name} is not in there. It holds {shown or 'nothing'}; wanted, in one folder: {wanted}.",
        where=str(origin),
        mend=f"It comes from {known.origin}.",
    )
