"""Sets as their publishers give them become JSON lines: every text once, whole, in an order of its own."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.catalog import CATALOG, KnownSet
from lmteach.corpus.lines import json_records
from lmteach.corpus.load import load_corpus
from lmteach.corpus.placing import place
from lmteach.errors import CorpusError
from lmteach.recipe.schema import CorpusSection

REVIEWS = {
    "train/neg/10_1.txt": "Dull.<br /><br />Very dull.",
    "train/neg/9_2.txt": "Long, and then some: ☃",
    "train/pos/0_9.txt": "Fine.",
    "train/unsup/7_0.txt": "Seen it.",
    "train/unsup/11_0.txt": "Not seen it.",
    "test/neg/0_2.txt": "No.",
    "test/pos/1_10.txt": "Yes.",
    "train/urls_pos.txt": "http://example.org/usercomments",
    "README": "Large Movie Review Dataset v1.0",
}
IMDB = replace(CATALOG["imdb"], counts={"train": 3, "test": 2})
NEWS = replace(CATALOG["agnews"], counts={"train": 3, "test": 1})

unicode = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)


def as_tar(files: Mapping[str, bytes | str], archive: Path, top: str, seed: int = 0) -> Path:
    names = sorted(files)
    random.Random(seed).shuffle(names)  # a tar has whatever order the file system gave
    with tarfile.open(archive, "w:gz", compresslevel=1) as tarred:
        for name in names:
            content = files[name]
            raw = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(raw)
            tarred.addfile(entry, io.BytesIO(raw))
    return archive


def rows(folder: Path, split: str) -> list[dict[str, object]]:
    return [dict(record.fields) for record in json_records(folder / f"{split}.jsonl.gz")]


def news(*cells: tuple[str, str, str]) -> str:
    sink = io.StringIO()
    csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(cells)
    return sink.getvalue()


def test_reviews_become_a_corpus_with_unlabelled_texts(tmp_path: Path) -> None:
    archive = as_tar(REVIEWS, tmp_path / "aclImdb_v1.tar.gz", "aclImdb")
    folder = tmp_path / "reviews"
    assert place(IMDB, archive, folder) == {"train": 3, "test": 2, "extra": 2, "labels": 2}
    assert rows(folder, "train") == [
        {"id": "train/neg/9_2", "text": "Long, and then some: ☃", "labels": [0]},
        {"id": "train/neg/10_1", "text": "Dull.\n\nVery dull.", "labels": [0]},
        {"id": "train/pos/0_9", "text": "Fine.", "labels": [1]},
    ]
    assert [row["id"] for row in rows(folder, "unsup")] == ["train/unsup/7_0", "train/unsup/11_0"]
    corpus = load_corpus(CorpusSection(path=str(folder), n_dev=0, n_extra=2), 1, folder)
    assert corpus.labels.names == ("negative", "positive")
    assert corpus.extra is not None
    assert sorted(document.text for document in corpus.extra) == ["Not seen it.", "Seen it."]


def test_the_order_is_the_same_whatever_the_reviews_came_in(tmp_path: Path) -> None:
    for name, text in REVIEWS.items():
        (tmp_path / "from" / "aclImdb" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / "aclImdb" / name).write_text(text, encoding="utf-8")
    place(IMDB, tmp_path / "from", tmp_path / "a")
    for seed in range(3):
        archive = as_tar(REVIEWS, tmp_path / f"{seed}.tar.gz", "x/aclImdb", seed)
        place(IMDB, archive, tmp_path / f"{seed}")
        for split in ("train", "test", "unsup"):
            assert rows(tmp_path / f"{seed}", split) == rows(tmp_path / "a", split)


def test_what_macos_puts_beside_the_files_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for name, text in REVIEWS.items():
            home, _, file = f"aclImdb/{name}".rpartition("/")
            zipped.writestr(f"__MACOSX/{home}/._{file}", b"\x00\x05\x16\x07\xff")
            zipped.writestr(f"{home}/{file}", text)
    assert place(IMDB, tmp_path / "a.zip", tmp_path / "imdb")["train"] == 3


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["neg", "pos"]), unicode), min_size=1, max_size=8), st.integers(0, 9)
)
def test_every_review_is_there_once(reviews: list[tuple[str, str]], seed: int) -> None:
    files = {f"train/{name}/{i}_5.txt": f"{i} {text}" for i, (name, text) in enumerate(reviews)}
    both = {f"{split}/{name}/1000_1.txt": "x" for split in ("train", "test") for name in ("neg", "pos")}
    known = replace(IMDB, counts={"train": len(reviews) + 2, "test": 2})
    with tempfile.TemporaryDirectory() as scratch:
        place(known, as_tar(files | both, Path(scratch, "a.tar.gz"), "aclImdb", seed), Path(scratch, "imdb"))
        found = {row["id"]: (row["text"], row["labels"]) for row in rows(Path(scratch, "imdb"), "train")}
    assert found == {
        name.removesuffix(".txt"): (text, [["neg", "pos"].index(name.split("/")[1])])
        for name, text in (files | both).items()
        if name.startswith("train/")
    }


def test_a_table_saved_anew_by_another_program(tmp_path: Path) -> None:
    """With a byte order mark, and a blank line at its end."""
    (tmp_path / "from").mkdir()
    rewritten = "\ufeff" + news(("3", "a", "b"), ("4", "a", "b"), ("1", "c", "d")) + "\n"
    (tmp_path / "from" / "train.csv").write_text(rewritten, encoding="utf-8")
    (tmp_path / "from" / "test.csv").write_text(news(("1", "a", "b")), encoding="utf-8")
    assert place(NEWS, tmp_path / "from", tmp_path / "agnews")["train"] == 3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_archive_never_passes_for_a_whole_one(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = as_tar(REVIEWS, Path(scratch, "a.tar.gz"), "aclImdb")
        whole = archive.read_bytes()
        spoiled = bytearray(whole)
        if data.draw(st.booleans()):
            spoiled[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del spoiled[data.draw(st.integers(0, len(whole) - 1)) :]
        archive.write_bytes(spoiled)
        with contextlib.suppress(CorpusError):  # else the byte does not matter: a time, a name
            place(IMDB, archive, Path(scratch, "imdb"))
            assert [row["id"] for row in rows(Path(scratch, "imdb"), "unsup")] == [
                "train/unsup/7_0",
                "train/unsup/11_0",
            ]
            texts = {row["text"] for split in ("train", "test") for row in rows(Path(scratch, "imdb"), split)}
            assert texts == {
                text.replace("<br />", "\n")
                for name, text in REVIEWS.items()
                if name.startswith(("train/neg", "train/pos", "test/neg", "test/pos"))
            }


def test_news_become_one_text_each(tmp_path: Path) -> None:
    train = news(
        ("3", "Bears claw back", 'He said "no", and left.'),
        ("4", "Chips", "fast\\slow, two\nlines"),
        ("1", "Ümläute", "☃"),
    )
    files = {"train.csv": train, "test.csv": news(("2", "Goal", "1:0")), "classes.txt": "World\n"}
    folder = tmp_path / "agnews"
    place(NEWS, as_tar(files, tmp_path / "ag_news_csv.tar.gz", "ag_news_csv"), folder)
    assert rows(folder, "train") == [
        {"id": "train/0", "text": 'Bears claw back He said "no", and left.', "labels": [2]},
        {"id": "train/1", "text": "Chips fast\\slow, two\nlines", "labels": [3]},
        {"id": "train/2", "text": "Ümläute ☃", "labels": [0]},
    ]
    assert (folder / "labels.txt").read_text().split("\n")[:4] == ["World", "Sports", "Business", "Sci/Tech"]


WITHOUT_A_CLASS = {name: text for name, text in REVIEWS.items() if not name.startswith("test/neg")}
FAULTS: dict[str, tuple[KnownSet, Mapping[str, bytes | str], str]] = {
    "a folder is missing": (IMDB, WITHOUT_A_CLASS, "train/neg/*.txt, train/pos/*.txt, test/neg/*.txt"),
    "another encoding": (
        IMDB,
        {**REVIEWS, "test/pos/1_10.txt": "Olé".encode("latin-1")},
        "x/test/pos/1_10.txt: This is not UTF-8 at byte 2",
    ),
    "too few": (replace(IMDB, counts={"train": 4, "test": 2}), REVIEWS, "train: 3 instead of 4"),
    "no such class": (
        NEWS,
        {"train.csv": news(("3", "a", "b"), ("5", "a", "b")), "test.csv": news(("1", "a", "b"))},
        "x/train.csv:2: The row is no class from 1 to 4",
    ),
    "a header": (
        NEWS,
        {"train.csv": news(("Class Index", "Title", "Description")), "test.csv": news(("1", "a", "b"))},
        "x/train.csv:1",
    ),
    "a column less": (NEWS, {"train.csv": '"3","a"\n', "test.csv": news(("1", "a", "b"))}, "x/train.csv:1"),
    "an open quote": (
        NEWS,
        {"train.csv": '"3","a","b\n', "test.csv": news(("1", "a", "b"))},
        "x/train.csv:1: The row cannot be read",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_with_a_fault_are_refused_whole(tmp_path: Path, fault: str) -> None:
    known, files, what = FAULTS[fault]
    archive = as_tar(files, tmp_path / "a.tar.gz", "x")
    with pytest.raises(CorpusError) as caught:
        place(known, archive, tmp_path / "data" / known.name)
    assert what in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []
