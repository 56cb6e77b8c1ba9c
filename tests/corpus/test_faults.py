"""Every fault of the data is one clear error that names its file and line; nothing is dropped in silence."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmteach.corpus.cache import StoredCorpus, load_cached
from lmteach.corpus.formats.registry import open_corpus
from lmteach.corpus.records import ReadOptions
from lmteach.errors import CorpusError

GOOD = '{"id": "a", "text": "x", "labels": [0]}\n'


def read(path: Path, **options: str) -> StoredCorpus:
    asked = ReadOptions(**options)
    return load_cached("test", open_corpus(path, "auto", asked), asked)


def fails(folder: Path, **options: str) -> str:
    with pytest.raises(CorpusError) as caught:
        read(folder, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"id": "b", "text": "y"', "not JSON"),
        (b'{"text": "y",}', "not JSON"),
        (b"[1, 2]", "no JSON object but list"),
        (b'"text"', "no JSON object but str"),
        (b"nonsense", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"text": "caf\xe9"}', "0xe9"),
        (b'{"text": "a\\ud800b"}', "half a character"),
        (b'{"text": {"a": 1}}', "'text' is no text but dict"),
        (b'{"text": true}', "'text' is no text but bool"),
        (b'{"text": "y", "labels": [3]}', "3 labels, so ids go from 0 to 2"),
        (b'{"text": "y", "labels": [-1]}', "Label id -1 is out of range"),
        (b'{"text": "y", "labels": [true]}', "bool"),
        (b'{"text": "y", "labels": [1.0]}', "float"),
        (b'{"text": "y", "labels": [[0]]}', "list"),
        (b'{"text": "y", "labels": {"a": 1}}', "dict"),
        (b'{"text": "y", "labels": ["alpah"]}', "Did you mean 'alpha'?"),
        (b'{"id": ["x", {}], "text": "y"}', "'id' is no text"),
    ],
)
def test_a_malformed_line_is_named(make_corpus: Callable[..., Path], line: bytes, what: str) -> None:
    folder = make_corpus()
    (folder / "train.jsonl").write_bytes(GOOD.encode() + b"\n" + line + b"\n")
    message = fails(folder)
    assert f"{folder / 'train.jsonl'}:3: " in message
    assert what in message


def test_a_label_id_may_be_the_last_but_not_one_more(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=[{"text": "x", "labels": [2]}])
    assert read(folder).splits["train"][0].labels == (2,)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_is_named(make_corpus: Callable[..., Path], kept: float) -> None:
    folder = make_corpus(train=None)
    whole = gzip.compress("".join(json.dumps({"text": f"{i} " * 50}) + "\n" for i in range(2000)).encode())
    (folder / "train.jsonl.gz").write_bytes(whole[: int(len(whole) * kept)])
    message = fails(folder)
    assert "truncated" in message
    assert "train.jsonl.gz:" in message


def test_a_truncated_zstandard_file_is_named(make_corpus: Callable[..., Path]) -> None:
    zstandard = pytest.importorskip("zstandard")
    folder = make_corpus(train=None)
    whole = zstandard.ZstdCompressor().compress((GOOD * 1000).encode())
    (folder / "train.jsonl.zst").write_bytes(whole[:-5])
    assert "truncated" in fails(folder)
    (folder / "train.jsonl.zst").write_bytes(whole[:20] + b"\0\0\0\0" + whole[24:])
    assert "train.jsonl.zst" in fails(folder)
    (folder / "train.jsonl.zst").write_bytes(b"no such thing")
    assert "train.jsonl.zst" in fails(folder)


@pytest.mark.parametrize("damage", ["not gzip", "flipped"])
def test_a_corrupt_gzip_is_named(make_corpus: Callable[..., Path], damage: str) -> None:
    folder = make_corpus(train=None)
    data = bytearray(gzip.compress((GOOD * 500).encode()))
    if damage == "flipped":
        data[-6] ^= 0xFF  # the checksum
    (folder / "train.jsonl.gz").write_bytes(data if damage == "flipped" else b"plain text")
    assert "train.jsonl.gz:" in fails(folder)


def test_empty_documents_are_counted_and_their_first_places_named(make_corpus: Callable[..., Path]) -> None:
    records = [{"id": str(i), "text": "" if i % 2 else "x", "labels": [0]} for i in range(20)]
    records[1]["text"] = " \n\t\u2003"
    folder = make_corpus(train=records)
    message = fails(folder)
    assert "10 of 20 documents of the train split have no text" in message
    assert f"{folder / 'train.jsonl'}:2," in message
    assert f"{folder / 'train.jsonl'}:12" not in message
    assert "corpus.empty=drop" in message


def test_empty_documents_may_be_left_out_aloud(
    make_corpus: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_corpus(train=[{"text": "x"}, {"text": ""}, {"text": None}, {}, {"text": "y"}])
    with caplog.at_level(logging.WARNING):
        stored = read(folder, empty="drop")
    assert [d.text for d in stored.splits["train"]] == ["x", "y"]
    assert [d.id for d in stored.splits["train"]] == ["train-0", "train-4"]
    assert stored.n_read["train"] == 5
    assert "3 of 5 documents of the train split have no text" in caplog.text


def test_nothing_but_empty_documents_is_an_error_even_so(make_corpus: Callable[..., Path]) -> None:
    assert "All 2 documents" in fails(make_corpus(train=[{"text": ""}, {"text": " "}]), empty="drop")


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_a_split_without_documents(make_corpus: Callable[..., Path], content: str) -> None:
    folder = make_corpus()
    (folder / "test.jsonl").write_text(content)
    assert "test split holds no document" in fails(folder)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ("alpha\nbeta\nalpha\n", "labels.txt:3: The label 'alpha' is there twice: first on line 1"),
        ("alpha\n beta\nbeta \n", "labels.txt:3: The label 'beta' is there twice: first on line 2"),
        ("alpha\n\nbeta\n", "labels.txt:2: The label has no name"),
        ("alpha\n", "The label set has 1 label; choosing among labels takes at least two"),
        ("", "has 0 labels"),
    ],
)
def test_a_label_set_that_breaks_a_rule(make_corpus: Callable[..., Path], labels: str, what: str) -> None:
    assert what in fails(make_corpus(labels=labels))


def test_label_ids_that_repeat_or_do_not_match(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    (folder / "label_ids.txt").write_text("a\nb\n")
    assert "2 ids for the 3 labels" in fails(folder)
    (folder / "label_ids.txt").write_text("a\nb\na\n")
    assert "label id 'a' is there twice: first on line 1" in fails(folder)


def test_label_numbers_need_a_label_file(make_corpus: Callable[..., Path]) -> None:
    message = fails(make_corpus(labels=None))
    assert "train.jsonl:1: The label 0 is a number" in message
    assert "labels.txt" in message


def test_texts_without_any_labels_need_a_label_file(make_corpus: Callable[..., Path]) -> None:
    message = fails(make_corpus(train=[{"text": "x"}], test=None, labels=None))
    assert "0 labels" in message
    assert "Put a labels.txt beside the documents" in message


def test_a_repeated_document_id_names_both_places(make_corpus: Callable[..., Path]) -> None:
    records = [{"id": f"d{i}", "text": "x"} for i in range(10)] + [{"id": "d3", "text": "y"}]
    folder = make_corpus(train=records)
    message = fails(folder)
    file = folder / "train.jsonl"
    assert f"{file}:11: The document id 'd3' is there twice: first at {file}:4" in message


def test_a_made_up_id_that_meets_a_given_one_is_a_repetition_too(make_corpus: Callable[..., Path]) -> None:
    assert "'train-1' is there twice" in fails(
        make_corpus(train=[{"id": "train-1", "text": "x"}, {"text": "y"}])
    )


def test_an_unknown_field_in_a_template(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    message = fails(folder, text="{titel} {text}")
    assert "no field 'titel' for corpus.text" in message
    assert "id, labels, text" in message
    assert "Did you mean 'name'?" in fails(folder, label_text="{nam}")


def test_an_unknown_field_is_found_out_before_a_large_file_is_read_through(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    lines = [json.dumps({"text": "x"})] * 3000 + ["broken"]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    assert "no field 'body'" in fails(tmp_path, text="{body}{text}")


def test_a_field_that_some_documents_lack_is_no_error(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=[{"text": "x"}, {"text": "y", "title": "T"}], test=None)
    assert [d.text for d in read(folder, text="{title}: {text}").splits["train"]] == ["x", "T: y"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("text,labels\nx,alpha,extra\n", ":2: The row has 3 cells, the header 2"),
        ('text,labels\n"a\nb",alpha\nx\n', ":4: The row has 1 cells, the header 2"),
        ('text,labels\n"open,alpha\n', ":2: The row cannot be read"),
        ('text,labels\n"a"b,alpha\n', ":2: The row cannot be read"),
        ("text,text\nx,y\n", ":1: A column of the header is there twice: 'text'"),
        ("text,\nx,y\n", ":1: A column of the header has no name"),
        ("body,labels\nx,alpha\n", "no field 'text' for corpus.text"),
        ("text,labels\nx,0\n", ":2: There is no label '0'"),
        ("text,labels\n", "holds no document"),
    ],
)
def test_csv_faults(make_corpus: Callable[..., Path], content: str, what: str) -> None:
    folder = make_corpus(train=None, test=None)
    (folder / "train.csv").write_text(content)
    assert what in fails(folder)


def test_a_csv_cell_may_be_longer_than_the_csv_modules_limit(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=None, test=None)
    (folder / "train.csv").write_text("text\n" + "x" * 300_000 + "\n")
    assert len(read(folder).splits["train"][0].text) == 300_000


def test_a_damaged_parquet_file(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus(train=None, test=None)
    (folder / "train.parquet").write_bytes(b"PAR1 no more of it")
    assert "train.parquet:1: The Parquet file cannot be read" in fails(folder)


def write_pecos(folder: Path, texts: str, rows: int, kind: str = "csr") -> None:
    sparse = pytest.importorskip("scipy.sparse")
    (folder / "X.trn.txt").write_text(texts)
    (folder / "output-items.txt").write_text("a\nb\n")
    matrix = sparse.csr_matrix(np.ones((rows, 2), np.float32))
    sparse.save_npz(folder / "Y.trn.npz", matrix.asformat(kind))


@pytest.mark.parametrize("rows", [1, 3])
def test_pecos_texts_and_gold_must_be_as_many(tmp_path: Path, rows: int) -> None:
    write_pecos(tmp_path, "one\ntwo\n", rows)
    message = fails(tmp_path)
    assert f"{rows} rows of" in message
    assert "X.trn.txt" in message


def test_pecos_matrices_that_are_none(tmp_path: Path) -> None:
    write_pecos(tmp_path, "one\ntwo\n", 2, "csc")
    assert "stored as 'csc'" in fails(tmp_path)
    (tmp_path / "Y.trn.npz").write_bytes(b"PK no zip")
    assert "no sparse matrix" in fails(tmp_path)


def test_an_xmc_document_without_targets(tmp_path: Path) -> None:
    (tmp_path / "trn.json.gz").write_bytes(gzip.compress(b'{"uid": "u", "content": "x"}\n'))
    (tmp_path / "Y.txt").write_text("a\nb\n")
    assert "trn.json.gz:1: The document has no target_ind" in fails(tmp_path)


def test_an_unreadable_file_is_an_error_of_ours(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    (folder / "labels.txt").write_bytes(b"alpha\n\xff\xfe\n")
    assert "labels.txt:2: Byte 1" in fails(folder)
