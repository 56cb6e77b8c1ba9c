"""Documents to be tagged are streamed with their ids and fields, from files and from standard input."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmteach.corpus.reading import read_documents
from lmteach.errors import CorpusError

RECORDS = [
    {"id": "a", "text": "one\u2028line", "title": "T", "labels": ["x"], "other": {"deep": [1]}},
    {"id": 7, "text": "zwei 🎉"},
    {"text": "no id"},
]
LINES = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in RECORDS)


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.ndjson", "d.json"])
def test_json_lines_keep_ids_and_every_field(tmp_path: Path, name: str) -> None:
    data = LINES.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = list(read_documents(tmp_path / name))
    assert [f.document.id for f in found] == ["a", "7", "3"]
    assert [dict(f.fields) for f in found] == RECORDS
    assert found[0].document.text == "one\u2028line"
    assert found[0].document.title == "T"
    assert found[0].document.labels is None
    assert found[2].where.endswith(f"{name}:3")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(LINES.encode() + b"\n{broken\n")))
    stream = read_documents("-")
    assert [next(stream).document.id for _ in range(3)] == ["a", "7", "3"]
    with pytest.raises(CorpusError, match="standard input:5: The line is not JSON"):
        next(stream)


def test_csv_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "d.csv").write_text('id,text,note\na,"one\nline",n\nb,two,m\n')
    assert [
        (f.document.id, f.document.text, f.fields["note"]) for f in read_documents(tmp_path / "d.csv")
    ] == [
        ("a", "one\nline", "n"),
        ("b", "two", "m"),
    ]
    pq.write_table(pa.table({"uid": [5, 6], "text": ["x", "y"]}), tmp_path / "d.parquet")
    found = list(read_documents(tmp_path / "d.parquet"))
    assert [(f.document.id, f.fields["uid"]) for f in found] == [("1", 5), ("2", 6)]


def test_a_file_is_streamed_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(LINES + "{broken\n")
    assert len(list(itertools.islice(read_documents(tmp_path / "d.jsonl"), 3))) == 3


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("d.jsonl", '{"text": "x"}\n{"text": " "}\n', "d.jsonl:2: The document has no text"),
        ("d.jsonl", '{"txt": "x"}\n', "no field 'text'"),
        ("d.jsonl", '{"text": "x"}\nnope\n', "d.jsonl:2: The line is not JSON"),
        ("d.csv", "text\nx,y\n", "d.csv:2: The row has 2 cells"),
        ("d.docx", "x", "kind of file is not known"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: str, what: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=what):
        list(read_documents(tmp_path / name))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        next(read_documents(tmp_path / "d.jsonl"))
    with pytest.raises(CorpusError, match="folder"):
        next(read_documents(tmp_path))
