"""Shards: what a folder holds, rows in windows, answers of the same kind with the rows' own ids in order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.reading import InputRecord
from lmteach.corpus.shards import Shard, find_shards, write_shard
from lmteach.errors import CorpusError
from lmteach.students.tags import Tags


def rows(n: int) -> list[dict[str, Any]]:
    return [{"id": f"d{i}", "text": f"text {i}"} for i in range(n)]


def lines(content: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in content).encode()


def write(folder: Path, kind: str, content: list[dict[str, Any]]) -> Shard:
    path = folder / f"part-0{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    elif kind == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines(content)))
    elif kind == ".jsonl.zst":
        path.write_bytes(zstandard.compress(lines(content)))
    else:
        path.write_bytes(lines(content))
    return Shard(path, path.name)


def read_answers(path: Path, kind: str) -> list[dict[str, Any]]:
    if kind == ".parquet":
        return list(pq.read_table(path).to_pylist())
    data = path.read_bytes()
    if kind == ".jsonl.gz":
        data = gzip.decompress(data)
    if kind == ".jsonl.zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return [json.loads(line) for line in data.decode().splitlines()]


KINDS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_counted_windowed_and_answered_in_order(kind: str, tmp_path: Path) -> None:
    shard = write(tmp_path, kind, rows(23))
    assert shard.n_rows() == 23
    windows = list(shard.windows("{text}", 10))
    assert [len(w) for w in windows] == [10, 10, 3]
    with write_shard(tmp_path / "hidden.tmp", shard.name) as out:
        for window in windows:
            out.write(window, [Tags((r.document.text, "é"), (0.75, 0.25)) for r in window])
    found = read_answers(tmp_path / "hidden.tmp", kind)
    assert [row["id"] for row in found] == [f"d{i}" for i in range(23)]
    assert found[22]["labels"] == ["text 22", "é"]
    assert found[22]["scores"] == [0.75, 0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_keep_their_type_and_rows_without_one_get_their_number(kind: str, tmp_path: Path) -> None:
    shard = write(tmp_path, kind, [{"id": 2**40, "text": "a"}, {"id": -1, "text": "b"}])
    for name, content, expected in (("numbers", shard, [2**40, -1]),):
        with write_shard(tmp_path / name, shard.name) as out:
            for window in content.windows("{text}", 10):
                out.write(window, [Tags(("x",), (1.0,))] * len(window))
        assert [row["id"] for row in read_answers(tmp_path / name, kind)] == expected
    shard = write(tmp_path, kind, [{"text": "a"}, {"text": "b"}])
    (window,) = shard.windows("{text}", 10)
    with write_shard(tmp_path / "none", shard.name) as out:
        out.write(window, [Tags(("x",), (1.0,))] * 2)
    assert [row["id"] for row in read_answers(tmp_path / "none", kind)] == ["1", "2"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_shard_is_an_empty_shard(kind: str, tmp_path: Path) -> None:
    with write_shard(tmp_path / "empty", f"x{kind}"):
        pass
    assert read_answers(tmp_path / "empty", kind) == []


def test_a_row_without_text_is_there_a_wrong_field_is_an_error(tmp_path: Path) -> None:
    shard = write(tmp_path, ".jsonl", [{"id": "a", "text": " "}, {"id": "b", "text": "x"}])
    (window,) = shard.windows("{text}", 10)
    assert [row.document.text for row in window] == ["", "x"]
    with pytest.raises(CorpusError, match="body"):
        list(shard.windows("{body}", 10))


def test_a_text_id_among_numbers_is_named(tmp_path: Path) -> None:
    shard = write(tmp_path, ".jsonl", [{"id": 1, "text": "a"}, {"id": "b", "text": "b"}])
    first, second = shard.windows("{text}", 1)
    with write_shard(tmp_path / "o", "o.parquet") as out:
        out.write(first, [Tags(("x",), (1.0,))])
        with pytest.raises(CorpusError, match=r"part-0\.jsonl:2"):
            out.write(second, [Tags(("x",), (1.0,))])


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(rows(3)).rstrip(b"\n"))
    assert Shard(tmp_path / "a.jsonl", "a.jsonl").n_rows() == 3


def test_what_a_folder_holds(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no shards"):
        find_shards(tmp_path)
    for name in ("b.jsonl", "a.parquet", "README.md", ".hidden.jsonl"):
        (tmp_path / name).write_text("x")
    assert [shard.name for shard in find_shards(tmp_path)] == ["a.parquet", "b.jsonl"]
    (tmp_path / "c.csv.gz").write_text("x")
    with pytest.raises(CorpusError, match=r"c\.csv\.gz"):
        find_shards(tmp_path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    shard = write(tmp_path, ".parquet", rows(5))
    shard.path.write_bytes(shard.path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match=r"part-0\.parquet"):
        shard.n_rows()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), max_size=8))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    content = [pair for pair in content if not any("\ud800" <= c <= "\udfff" for c in "".join(pair))]
    shard = write(folder, ".jsonl", [{"id": id_, "text": text} for id_, text in content])
    back: list[InputRecord] = [row for window in shard.windows("{text}", 3) for row in window]
    assert [row.document.text.strip() for row in back] == [text.strip() for _, text in content]
    with write_shard(folder / "out", "out.jsonl") as out:
        out.write(back, [Tags((text,), (1.0,)) for _, text in content])
    assert [row["labels"] for row in read_lines(folder / "out")] == [[text] for _, text in content]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
