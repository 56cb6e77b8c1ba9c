"""The PECOS archives: one text a line in X.trn.txt, gold as a sparse matrix in Y.trn.npz."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmteach.corpus.formats.xmc import read_label_lines
from lmteach.corpus.lines import read_lines
from lmteach.corpus.records import ReadOptions, Record, Source
from lmteach.errors import CorpusError

LOOKS_FOR = "X.trn.txt and output-items.txt, with Y.trn.npz (also X.tst.txt, Y.tst.npz)"
LABEL_FILE = "output-items.txt"
_SHORT = {"train": "trn", "test": "tst"}


def detect(path: Path) -> bool:
    """Tell whether this is a folder of a PECOS archive."""
    return (path / "X.trn.txt").is_file() and (path / LABEL_FILE).is_file()


def open_source(path: Path, options: ReadOptions) -> Source:
    """Read a folder; a document has the field `text` alone. Without Y.*.npz there is no gold."""
    texts = {split: path / f"X.{short}.txt" for split, short in _SHORT.items()}
    texts = {split: file for split, file in texts.items() if file.is_file()}
    gold = {split: path / f"Y.{_SHORT[split]}.npz" for split in texts}
    gold = {split: file for split, file in gold.items() if file.is_file()}
    return Source(
        files=(*texts.values(), *gold.values(), path / LABEL_FILE),
        splits={split: partial(_documents, file, gold.get(split)) for split, file in texts.items()},
        labels=partial(read_label_lines, path / LABEL_FILE),
        unique_names=False,
    )


def _documents(texts: Path, gold: Path | None) -> Iterator[Record]:
    rows = None if gold is None else _read_csr(gold)
    n = 0
    for n, line in read_lines(texts):
        fields: dict[str, Any] = {"text": line}
        if rows is not None:
            if n > len(rows[0]) - 1:
                raise CorpusError(
                    f"There are more texts than the {n - 1} rows of {gold}.", where=f"{texts}:{n}"
                )
            fields["labels"] = rows[1][rows[0][n - 1] : rows[0][n]].tolist()
        yield Record(fields, str(texts), n)
    if rows is not None and n != len(rows[0]) - 1:
        raise CorpusError(f"There are {n} texts for the {len(rows[0]) - 1} rows of {gold}.", where=str(texts))


def _read_csr(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (indptr, indices) of a matrix that `scipy.sparse.save_npz` wrote, without its explicit zeros."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            kind = bytes(stored["format"].tobytes()).replace(b"\0", b"")
            if kind != b"csr":
                raise CorpusError(f"The matrix is stored as {kind.decode()!r}, not as csr.", where=str(path))
            indptr, indices, data = stored["indptr"], stored["indices"], stored["data"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorpusError(f"This is no sparse matrix of scipy's: {error}.", where=str(path)) from error
    kept = data != 0
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return before[indptr], indices[kept]
