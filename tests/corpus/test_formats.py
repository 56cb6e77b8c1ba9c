"""What is written in a format is read back: random documents, odd Unicode, line breaks, empty label lists."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.cache import StoredCorpus, load_cached
from lmteach.corpus.formats.huggingface import open_hub
from lmteach.corpus.formats.registry import FORMATS, open_corpus
from lmteach.corpus.records import ReadOptions
from lmteach.errors import CorpusError
from lmteach.types import Document

LABELS = ["alpha", "beta; with separator", "γ 🎉", "a b", "ünï"]
anything = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
speaking = anything.filter(lambda text: text.strip() != "")
odd = st.sampled_from(['"', "\n", "\r\n", "\u2028", "\x00", "\x1c", "\ufeff", "🏳️‍🌈", "\u202e", ",;\t", "\\n"])
bodies = st.builds(lambda a, b, c: a + b + c, speaking, odd, anything).filter(lambda text: text.strip() != "")
label_ids = st.lists(st.integers(0, len(LABELS) - 1), unique=True).map(lambda ids: tuple(sorted(ids)))


@st.composite
def documents(draw: st.DrawFn, text: st.SearchStrategy[str] = bodies) -> list[Document]:
    ids = draw(st.lists(speaking, min_size=1, max_size=6, unique=True))
    return [Document(i, draw(text), draw(label_ids), draw(anything)) for i in ids]


def read(folder: Path, format: str = "auto", **options: str) -> StoredCorpus:
    asked = ReadOptions(**options)
    return load_cached("test", open_corpus(folder, format, asked), asked)


def as_records(content: list[Document], *, names: bool) -> list[dict]:
    return [
        {
            "id": d.id,
            "title": d.title,
            "text": d.text,
            "labels": [LABELS[i] if names else i for i in d.labels or ()],
        }
        for d in content
    ]


def write_labels(folder: Path) -> None:
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")


def compress_zst(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    half = len(data) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("", bytes), (".gz", gzip.compress), (".zst", compress_zst)],
    ids=["plain", "gz", "zst"],
)
@pytest.mark.parametrize("names", [False, True], ids=["ids", "names"])
@settings(max_examples=25, deadline=None)
@given(content=documents(), ascii_only=st.booleans())
def test_jsonl(
    ending: str, compress: Callable[[bytes], bytes], names: bool, content: list[Document], ascii_only: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labels(folder)
        lines = [json.dumps(r, ensure_ascii=ascii_only) for r in as_records(content, names=names)]
        (folder / f"train.jsonl{ending}").write_bytes(compress("\n".join(lines).encode()))
        stored = read(folder)
        assert list(stored.splits["train"]) == content
        assert stored.labels.names == tuple(LABELS)


@settings(max_examples=60, deadline=None)
@given(content=documents(), separator=st.sampled_from(["|", "; ", "@@"]), tabs=st.booleans())
def test_csv(content: list[Document], separator: str, tabs: bool) -> None:
    content = [Document(d.id, d.text, tuple(i for i in d.labels or () if i != 1), d.title) for d in content]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labels(folder)
        path = folder / ("train.tsv" if tabs else "train.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
            writer.writerow(["text", "labels", "title", "id"])
            for d in content:
                writer.writerow([d.text, separator.join(LABELS[i] for i in d.labels or ()), d.title, d.id])
        assert list(read(folder, separator=separator).splits["train"]) == content


@pytest.mark.parametrize("names", [False, True], ids=["ids", "names"])
@settings(max_examples=30, deadline=None)
@given(content=documents())
def test_parquet(names: bool, content: list[Document]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labels(folder)
        records, half = as_records(content, names=names), (len(content) + 1) // 2
        schema = pa.schema(
            [(f, pa.string()) for f in ("id", "title", "text")]
            + [("labels", pa.list_(pa.string() if names else pa.int64()))]
        )
        for i, part in enumerate([records[:half], records[half:]]):
            table = pa.Table.from_pylist(part, schema=schema)
            pq.write_table(table, folder / f"train-{i:05}-of-00002.parquet")
        assert list(read(folder).splits["train"]) == content


@settings(max_examples=30, deadline=None)
@given(content=documents(), json_labels=st.booleans())
def test_xmc(content: list[Document], json_labels: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [
            json.dumps(
                {"uid": d.id, "title": d.title, "content": d.text, "target_ind": d.labels, "target_rel": []}
            )
            for d in content
        ]
        for file in ("trn.json.gz", "tst.json.gz"):
            (folder / file).write_bytes(gzip.compress("\n".join(lines).encode()))
        if json_labels:
            rows = [json.dumps({"uid": str(i), "title": n}) for i, n in enumerate(LABELS)]
            (folder / "lbl.json.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
        else:
            (folder / "Yf.txt").write_text("\n".join(LABELS), encoding="utf-8")
        stored = read(folder)
        assert stored.labels.names == tuple(LABELS)
        for split in ("train", "test"):
            assert list(stored.splits[split]) == content
        titled = read(folder, text="{title}\t{content}").splits["train"]
        assert titled[0].text == (
            f"{content[0].title}\t{content[0].text}" if content[0].title else content[0].text
        )


one_line = bodies.map(lambda text: text.replace("\n", " ").strip("\r\ufeff")).filter(
    lambda t: t.strip() != ""
)


@settings(max_examples=30, deadline=None)
@given(content=documents(one_line), explicit_zero=st.booleans())
def test_pecos(content: list[Document], explicit_zero: bool) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.zeros((len(content), len(LABELS)), np.float32)
    for row, d in enumerate(content):
        dense[row, list(d.labels or ())] = 1
    matrix = sparse.csr_matrix(dense)
    if explicit_zero and matrix.nnz:
        matrix.data[0] = 0
    expected = [tuple(np.flatnonzero(row)) for row in matrix.toarray()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for short in ("trn", "tst"):
            text = "".join(d.text + "\n" for d in content)
            (folder / f"X.{short}.txt").write_bytes(text.encode())
            sparse.save_npz(folder / f"Y.{short}.npz", matrix, compressed=explicit_zero)
        (folder / "output-items.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
        stored = read(folder)
    for split in ("train", "test"):
        assert [d.text for d in stored.splits[split]] == [d.text for d in content]
        assert [d.labels for d in stored.splits[split]] == expected


def test_huggingface_folders_with_class_labels_and_with_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"text": ["one\nline", "two", "🎉"], "labels": [[0, 2], [], [1]]}
    classes = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"])),
        }
    )
    train = datasets.Dataset.from_dict(rows, features=classes)
    datasets.DatasetDict(
        {"train": train, "validation": train.select([1]), "test": train.select([2])}
    ).save_to_disk(tmp_path / "multi")
    stored = read(tmp_path / "multi")
    assert stored.labels.names == ("x", "y", "z")
    assert [(d.text, d.labels) for d in stored.splits["train"]] == [
        ("one\nline", (0, 2)),
        ("two", ()),
        ("🎉", (1,)),
    ]
    assert {split: len(documents) for split, documents in stored.splits.items()} == {
        "train": 3,
        "dev": 1,
        "test": 1,
    }

    datasets.Dataset.from_dict({"review": ["a", "b"], "label": ["pos", "neg"]}).save_to_disk(
        tmp_path / "single"
    )
    stored = read(tmp_path / "single", "huggingface", text="{review}")
    assert stored.labels.names == ("neg", "pos")
    assert [d.labels for d in stored.splits["train"]] == [(1,), (0,)]


def test_a_hub_data_set_that_cannot_be_had_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match="cannot be loaded"):
        open_hub("nobody/there-is-no-such-set")


def test_a_missing_datasets_package_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(Exception, match=r"pip install 'lmteach\[hub\]'"):
        read(tmp_path)


def test_latin_1_labels_and_repeated_names_of_the_xmc_repository(tmp_path: Path) -> None:
    record = {"uid": "u1", "title": "", "content": "x", "target_ind": [0, 2]}
    again = {**record, "content": "y"}
    lines = "\n".join(map(json.dumps, [record, again]))
    for file in ("trn.json.gz", "tst.json.gz"):
        (tmp_path / file).write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "Yf.txt").write_bytes("caf\xe9\nbooks\nbooks\n".encode("latin-1"))
    stored = read(tmp_path)
    assert stored.labels.names == ("café", "books", "books (2)")
    assert stored.labels.texts == ("café", "books", "books")
    assert [d.id for d in stored.splits["train"]] == ["u1", "u1#2"]


def test_label_files_with_descriptions_and_ids(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x", "labels": ["b"]}\n')
    (tmp_path / "labels.txt").write_text("a\tthe first\nb\n")
    stored = read(tmp_path, label_text="{name}: {description}")
    assert stored.labels.texts == ("a: the first", "b")
    (tmp_path / "labels.txt").write_text("TODO\nTODO\n")
    (tmp_path / "label_ids.txt").write_text("one::TODO\ntwo::TODO\n")
    (tmp_path / "train.jsonl").write_text('{"text": "x", "labels": [1]}\n')
    assert read(tmp_path).labels.names == ("TODO", "TODO (two::TODO)")
    (tmp_path / "labels.jsonl").write_text('{"name": "n", "group": "g"}\n{"name": "m", "group": "h"}\n')
    assert read(tmp_path, label_text="{group}/{name}").labels.texts == ("g/n", "h/m")


def test_without_a_label_file_the_names_borne_are_the_label_set(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,labels\nx,b; a\ny,c\n")
    (tmp_path / "test.csv").write_text("text,labels\nz,d\n")
    stored = read(tmp_path)
    assert stored.labels.names == ("a", "b", "c", "d")
    assert [d.labels for d in stored.splits["train"]] == [(0, 1), (2,)]


def test_texts_alone_have_no_gold(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x"}\n{"text": "y"}\n')
    write_labels(tmp_path)
    train = read(tmp_path).splits["train"]
    assert not train.has_gold
    assert [d.id for d in train] == ["train-0", "train-1"]


def test_a_single_file_is_the_training_split(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": "x", "labels": ["a"]}\n{"text": "y", "labels": ["b"]}\n')
    assert list(read(tmp_path / "mine.jsonl").splits) == ["train"]


@pytest.mark.parametrize("name", ["train_sentences.jsonl", "trains.jsonl", "xtrain.jsonl", "train.jsonl.bak"])
def test_names_that_only_look_like_a_split_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "x"}\n')
    with pytest.raises(CorpusError, match=f"there is: {name}"):
        read(tmp_path)


def test_auto_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("hi")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path)
    assert all(
        name in str(caught.value) for name in [*FORMATS, "readme.md", "trn.json.gz", "output-items.txt"]
    )


def test_a_wrong_format_or_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(CorpusError, match=r"train\.csv"):
        read(tmp_path, "csv")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, "jsnl")
    assert caught.value.nearest == "jsonl"
    with pytest.raises(CorpusError, match="no such file"):
        read(tmp_path / "nowhere")
