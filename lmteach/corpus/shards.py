"""A corpus too large to hold: shards of a folder, read in windows of rows and answered by shards of the same names."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from lmteach.corpus.compressed import open_binary
from lmteach.corpus.reading import InputRecord, read_documents
from lmteach.errors import CorpusError, missing_package

if TYPE_CHECKING:
    from lmteach.students.tags import Tags

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True)
class Shard:
    """One file of a folder, and what it is called there."""

    path: Path
    name: str

    def n_rows(self) -> int:
        """Count its rows without parsing them: from the footer of a Parquet file, else by its lines."""
        if self.name.endswith(".parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                return int(pq.read_metadata(self.path).num_rows)
            except (OSError, pa.ArrowException) as error:
                raise CorpusError(
                    f"The Parquet file cannot be read: {error}", where=str(self.path)
                ) from error
        n, last = 0, b"\n"
        with open_binary(self.path) as stream:
            while block := stream.read(1 << 20):
                n += block.count(b"\n")
                last = block[-1:]
        return n + (last != b"\n")

    def windows(self, text: str, n_rows: int) -> Iterator[list[InputRecord]]:
        """Yield its rows in order, `n_rows` at a time; a row without text is there too, with an empty one.

        Args:
            text: what a document's text is made of: a template over a row's fields.

        Raises:
            CorpusError: the file is malformed.
        """
        window: list[InputRecord] = []
        for record in read_documents(self.path, text, allow_empty=True):
            window.append(record)
            if len(window) == n_rows:
                yield window
                window = []
        if window:
            yield window


def find_shards(folder: Path) -> list[Shard]:
    """Return a folder's shards by name.

    Raises:
        CorpusError: there are none, or files of other kinds among them that hold documents too.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    shards = [Shard(path, path.name) for path in files if path.name.endswith(ENDINGS)]
    tables = [p.name for p in files if p.name.removesuffix(".gz").endswith((".csv", ".tsv"))]
    if tables or not shards:
        what = f"{tables[0]} is no shard." if tables else "There are no shards here."
        raise CorpusError(
            what,
            where=str(folder),
            mend=f"A folder is predicted from files that end in {', '.join(ENDINGS)}.",
        )
    return shards


class ShardWriter(Protocol):
    """Takes the answers to a shard's rows, window by window, in order."""

    def write(self, rows: Sequence[InputRecord], tags: Sequence[Tags]) -> None:
        """Append the id, labels and scores of each row."""


@contextmanager
def write_shard(path: Path, kind: str) -> Iterator[ShardWriter]:
    """Open a shard of answers for writing.

    Args:
        path: where to write; a temporary name, so what it holds is told by `kind`.
        kind: the name it will have; ends in one of `ENDINGS`.
    """
    if kind.endswith(".parquet"):
        with _ParquetShard(path) as shard:
            yield shard
        return
    with path.open("wb") as raw, _compressed(raw, kind) as file:
        yield _LinesShard(file)
        file.flush()


@contextmanager
def _compressed(raw: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    if kind.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file:
            yield file  # type: ignore[misc]
    elif kind.endswith(".zst"):
        try:
            import zstandard
        except ImportError as error:
            raise missing_package("zstandard", needed_by=kind, command="pip install zstandard") from error
        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as file:
            yield file
    else:
        yield raw


class _LinesShard:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, rows: Sequence[InputRecord], tags: Sequence[Tags]) -> None:
        text = io.StringIO()
        for row, found in zip(rows, tags, strict=True):
            line = {"id": row_id(row), "labels": found.labels, "scores": found.scores}
            text.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self._file.write(text.getvalue().encode())


class _ParquetShard:
    """Columns id (as it is in the rows: text or whole number), labels, scores; a row group a window."""

    def __init__(self, path: Path) -> None:
        self._path, self._writer = path, None

    def __enter__(self) -> _ParquetShard:
        return self

    def __exit__(self, *details: Any) -> None:
        if self._writer is not None:
            self._writer.close()
        elif details[0] is None:
            self._open(_schema(number=False))
            assert self._writer is not None
            self._writer.close()

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self._path, schema)

    def write(self, rows: Sequence[InputRecord], tags: Sequence[Tags]) -> None:
        import pyarrow as pa

        ids = [row_id(row) for row in rows]
        if self._writer is None:
            self._open(_schema(number=all(isinstance(id_, int) for id_ in ids)))
        assert self._writer is not None
        schema = self._writer.schema
        if not pa.types.is_integer(schema.field("id").type):
            ids = [str(id_) for id_ in ids]
        elif odd := next((row for row, id_ in zip(rows, ids, strict=True) if not isinstance(id_, int)), None):
            raise CorpusError("This row's id is no whole number, unlike the first ones'.", where=odd.where)
        columns = {"id": ids, "labels": [t.labels for t in tags], "scores": [t.scores for t in tags]}
        self._writer.write_table(pa.table(columns, schema=schema))


def _schema(*, number: bool) -> Any:
    import pyarrow as pa

    fields: Mapping[str, Any] = {
        "id": pa.int64() if number else pa.string(),
        "labels": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
    }
    return pa.schema(list(fields.items()))


def row_id(row: InputRecord) -> Any:
    """Return a row's own id as it stands there, else its number in its file."""
    given = row.fields.get("id")
    return row.document.id if given is None else given
