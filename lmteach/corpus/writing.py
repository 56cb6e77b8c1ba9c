"""Checked documents to Arrow files, a batch at a time, so that a corpus larger than memory can be written."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lmteach.corpus.checked import (
    CountedRecords,
    KnownLabels,
    check_documents,
    check_labels,
    document_id,
)
from lmteach.corpus.documents import Documents, document_digest
from lmteach.corpus.records import ReadOptions, Record, Source
from lmteach.errors import CorpusError
from lmteach.types import Document

_BATCH_DOCUMENTS = 4096
_BATCH_CHARACTERS = 16 << 20


def write_corpus(folder: Path, source: Source, options: ReadOptions) -> dict[str, Any]:
    """Read and check a source, write `SPLIT.arrow` for each split, and return what `meta.json` is to hold.

    Raises:
        CorpusError: the source breaks a rule.
        OSError: the disk is full.
    """
    known = check_labels(source, options)
    splits = {
        split: _write_split(folder / f"{split}.arrow", split, stream, options, known)
        for split, stream in source.splits.items()
    }
    return {"label_names": known.labels.names, "label_texts": known.labels.texts, "splits": splits}


def _write_split(
    path: Path, split: str, stream: Callable[[], Iterator[Record]], options: ReadOptions, known: KnownLabels
) -> dict[str, Any]:
    import pyarrow as pa

    fields = [(name, pa.string()) for name in ("id", "title", "text")]
    schema = pa.schema([*fields, ("labels", pa.list_(pa.int32()))])
    digest, id_hashes, n = hashlib.sha256(), array("q"), 0
    records = CountedRecords(stream())
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(check_documents(records, split, options, known)):
            for document in batch:
                digest.update(document_digest(document))
                id_hashes.append(hash(document.id))
            n += len(batch)
            columns = [pa.array([getattr(d, f.name) for d in batch], f.type) for f in schema]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    _check_unique_ids(Documents.open(path, ""), np.frombuffer(id_hashes, np.int64), split, stream)
    return {"n": n, "n_read": records.n, "size": path.stat().st_size, "fingerprint": digest.hexdigest()}


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    n_characters = 0
    for document in documents:
        batch.append(document)
        n_characters += len(document.text)
        if len(batch) == _BATCH_DOCUMENTS or n_characters > _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _check_unique_ids(
    documents: Documents, id_hashes: Any, split: str, stream: Callable[[], Iterator[Record]]
) -> None:
    """Compare ids by hash, eight bytes each; only where two hashes agree, the files are read once more."""
    order = np.argsort(id_hashes, kind="stable")
    same = np.flatnonzero(np.diff(id_hashes[order]) == 0)
    if not len(same):
        return
    suspects = {documents.ids[int(i)] for i in (*order[same], *order[same + 1])}
    first: dict[str, str] = {}
    for n, record in enumerate(stream()):
        id_ = document_id(record, split, n)
        if id_ in first:
            raise CorpusError(
                f"The document id '{id_}' is there twice: first at {first[id_]}.",
                where=record.where,
                mend="Make ids unique, or leave the field out to have them made up.",
            )
        if id_ in suspects:
            first[id_] = record.where
