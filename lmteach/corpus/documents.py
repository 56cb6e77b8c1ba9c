"""Documents with random access over an Arrow table, left on disk where it lies there; gold under seal.

Shape legend: n documents of a view, m rows of the table behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from lmteach.corpus.blocks import ReadInBlocks
from lmteach.corpus.gold import Gold, GoldAccess, Rows, Seal
from lmteach.corpus.mapped import MappedTable
from lmteach.errors import CorpusError, RunError
from lmteach.types import Document

_READ_AT_ONCE = 1024
_TEXT_COLUMNS = ("id", "title", "text")


class Documents(Sequence[Document]):
    """A view of n documents. Views share the table behind them and cost eight bytes a document.

    Args:
        table: Arrow table with columns id, title, text (string) and labels (list of int32, null = no gold), or
            one that is mapped from a file.
        fingerprint: names the content of the whole table.
        path: the mapped table's file; a pickled view then carries the path, not the texts.
        rows: the table's rows that this view shows, in its order; all if None.
        seal: closes gold until opened.
        withheld: gold may never be read through this view.
    """

    def __init__(
        self,
        table: Any,
        fingerprint: str,
        *,
        path: Path | None = None,
        rows: Rows | None = None,
        seal: Seal | None = None,
        withheld: bool = False,
    ) -> None:
        self._mapped = table if isinstance(table, MappedTable) else None
        self._table = table.table if isinstance(table, MappedTable) else table
        self._table_fingerprint, self._path = fingerprint, path
        self._rows, self._seal, self._withheld = rows, seal, withheld
        lengths = [len(chunk) for chunk in self._table.column("id").chunks]
        self._chunk_starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> Documents:
        """Open the Arrow IPC file at `path`; its texts stay there.

        Raises:
            CorpusError: it is no readable Arrow file.
        """
        return cls(MappedTable(path), fingerprint, path=path)

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Documents:
        """Hold documents in memory: for tests, and for texts that come from no file."""
        import pyarrow as pa

        columns = {
            name: pa.array([getattr(d, name) for d in documents], pa.string()) for name in _TEXT_COLUMNS
        }
        labels = pa.array([d.labels for d in documents], pa.list_(pa.int32()))
        digest = hashlib.sha256()
        for document in documents:
            digest.update(document_digest(document))
        return cls(pa.table({**columns, "labels": labels}), digest.hexdigest())

    def __len__(self) -> int:
        return int(self._table.num_rows) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Documents: ...
    def __getitem__(self, index: int | slice) -> Document | Documents:
        if isinstance(index, slice):
            return self.take(np.arange(len(self), dtype=np.int64)[index])
        return self._read(self._locate([index]))[0]

    def __iter__(self) -> Iterator[Document]:
        for start in range(0, len(self), _READ_AT_ONCE):
            yield from self._read(self._locate(np.arange(start, min(start + _READ_AT_ONCE, len(self)))))

    def __repr__(self) -> str:
        return f"Documents(n={len(self)}, gold={self.gold_access}, fingerprint={self.fingerprint[:12]})"

    @property
    def ids(self) -> Column:
        """The document ids, read as they are asked for."""
        return Column(self, "id")

    def texts(self, indices: Sequence[int] | Rows) -> list[str]:
        """Return the texts of some documents, in the order asked for."""
        return self._gather("text", self._locate(indices))

    def titles(self, indices: Sequence[int] | Rows) -> list[str]:
        """Return the titles of some documents, "" where there is none."""
        return self._gather("title", self._locate(indices))

    @property
    def fingerprint(self) -> str:
        """A hash of the content, gold included: equal content in equal order has the same one."""
        if self._rows is None:
            return self._table_fingerprint
        rows = np.ascontiguousarray(self._rows, dtype="<i8").tobytes()
        return hashlib.sha256(self._table_fingerprint.encode() + rows).hexdigest()

    def whole_split(self) -> Documents:
        """Return a view of all documents of the table behind this one, under the same seal."""
        return Documents(
            self._mapped or self._table,
            self._table_fingerprint,
            path=self._path,
            seal=self._seal,
            withheld=self._withheld,
        )

    def take(self, indices: Sequence[int] | Rows) -> Documents:
        """Return a view of some documents, under the same seal; nothing is copied.

        Raises:
            IndexError: an index is out of range.
        """
        return self._view(rows=self._locate(indices))

    @property
    def gold_access(self) -> GoldAccess:
        """Whether gold may be read now. `open` does not promise that there is any."""
        if self._withheld:
            return "withheld"
        return "sealed" if self._seal is not None and self._seal.closed else "open"

    @property
    def has_gold(self) -> bool:
        """Whether every document of the table has gold labels, readable now or not."""
        return bool(self._table.column("labels").null_count == 0)

    def sealed(self) -> Documents:
        """Return a view whose gold cannot be read until its `unseal` is called."""
        return self._view(seal=Seal())

    def unseal(self) -> None:
        """Open this view's gold, and that of every view taken of it: training is over."""
        if self._seal is not None:
            self._seal.closed = False

    def without_gold(self) -> Documents:
        """Return a view through which gold can never be read, as for dev documents."""
        return self._view(withheld=True)

    @property
    def gold(self) -> Gold:
        """The gold labels of these documents.

        Raises:
            RunError: they are under seal: something reads test gold before training is over.
            CorpusError: there are none, or none that this view may show.
        """
        if self.gold_access == "sealed":
            raise RunError(
                "The gold labels of the test documents were asked for before training was over.",
                mend="Held-out gold may not steer training; unseal() opens it after the last cycle.",
            )
        if self._withheld:
            raise CorpusError("These documents (dev) are used without gold labels; none may be read.")
        return self._read_gold()

    def gold_for_oracle(self) -> Gold:
        """Return the gold labels even where they are withheld: for the `oracle` teacher, who answers by them.

        Raises:
            RunError: they are under seal; that holds for the oracle too.
            CorpusError: there are none.
        """
        return self.gold if self.gold_access == "sealed" else self._read_gold()

    def _read_gold(self) -> Gold:
        column = self._table.column("labels")
        if column.null_count:
            raise CorpusError(f"{column.null_count} of {len(column)} documents have no gold labels.")
        lengths = [np.zeros(1, np.int64), *(np.diff(c.offsets.to_numpy()) for c in column.chunks)]
        indptr = np.cumsum(np.concatenate(lengths), dtype=np.int64)
        ids = np.concatenate([np.zeros(0, np.int64), *(c.flatten().to_numpy() for c in column.chunks)])
        gold = Gold(indptr, ids.astype(np.int64))
        return gold if self._rows is None else gold.take(self._rows)

    def _view(
        self, *, rows: Rows | None = None, seal: Seal | None = None, withheld: bool = False
    ) -> Documents:
        return Documents(
            self._mapped or self._table,
            self._table_fingerprint,
            path=self._path,
            rows=self._rows if rows is None else rows,
            seal=seal or self._seal,
            withheld=self._withheld or withheld,
        )

    def _locate(self, indices: Sequence[int] | Rows) -> Rows:
        """Translate positions in this view to rows of the table; negative ones count from the end."""
        wanted = np.asarray(indices, dtype=np.int64)
        bad = (wanted < -len(self)) | (wanted >= len(self))
        if bad.any():
            raise IndexError(f"document {wanted[bad][0]} of {len(self)}")
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        return wanted if self._rows is None else self._rows[wanted]

    def _gather(self, column: str, rows: Rows) -> list[Any]:
        """Read rows of one column, chunk by chunk, so that no more than those rows is copied."""
        import pyarrow as pa

        chunk_of = np.searchsorted(self._chunk_starts, rows, side="right") - 1
        chunked, found = self._table.column(column), [None] * len(rows)
        for chunk in np.unique(chunk_of):
            places = np.flatnonzero(chunk_of == chunk)
            local = rows[places] - self._chunk_starts[chunk]
            if self._mapped is not None and column in _TEXT_COLUMNS:
                values: list[Any] = self._mapped.strings(column, int(chunk), local)
            else:
                values = chunked.chunk(int(chunk)).take(pa.array(local)).to_pylist()
            for place, value in zip(places, values, strict=True):
                found[place] = value
        return found

    def _read(self, rows: Rows) -> list[Document]:
        ids, titles, texts = (self._gather(name, rows) for name in _TEXT_COLUMNS)
        open_ = self.gold_access == "open"
        labels = self._gather("labels", rows) if open_ else [None] * len(rows)
        return [
            Document(id_, text, None if gold is None else tuple(gold), title)
            for id_, text, gold, title in zip(ids, texts, labels, titles, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._path is not None:
            del state["_table"], state["_mapped"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self._mapped = MappedTable(self._path)
            self._table = self._mapped.table


class Column(ReadInBlocks):
    """One text column of a view, read in blocks as it is walked through."""

    def __init__(self, documents: Documents, name: str) -> None:
        self._documents, self._name = documents, name

    def __len__(self) -> int:
        return len(self._documents)

    def at(self, indices: Sequence[int] | Rows) -> list[str]:
        """Return some of it, in the order asked for."""
        return self._documents._gather(self._name, self._documents._locate(indices))


def document_digest(document: Document) -> bytes:
    """Return 32 bytes that stand for a document's whole content."""
    labels = "-" if document.labels is None else ",".join(map(str, document.labels))
    parts = (document.id, document.title, document.text, labels)
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(framed.encode()).digest()
