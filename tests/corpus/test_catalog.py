"""The catalogue names what is missing and refuses other files; placing is whole or not at all."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lmteach.corpus import catalog
from lmteach.corpus.catalog import CATALOG, KnownSet, find_known
from lmteach.corpus.layouts import JSONL, XMC
from lmteach.corpus.placing import place
from lmteach.errors import CorpusError

TINY = replace(CATALOG["amazoncat-13k"], name="tiny", n_labels=3, counts={"train": 4, "test": 2})


def write_xmc(folder: Path, n_train: int = 4, labels: str = "a\nb\nc\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, n in (("trn.json.gz", n_train), ("tst.json.gz", 2)):
        rows = [
            json.dumps({"uid": f"{file}{i}", "title": "t", "content": "x", "target_ind": [i % 3]})
            for i in range(n)
        ]
        (folder / file).write_bytes(gzip.compress("\n".join(rows).encode()))
    (folder / "Yf.txt").write_text(labels)
    (folder / "unrelated.bin").write_bytes(b"0" * 100)
    return folder


def as_zip(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("AmazonCat.raw/", "")
        for file in folder.iterdir():
            zipped.write(file, f"AmazonCat.raw/{file.name}")
    return archive


def as_tar(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tarred:
        tarred.add(folder, "xmc-base/tiny")
    return archive


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_files_are_taken_out_of_whatever_they_come_in(tmp_path: Path, kind: str) -> None:
    made = write_xmc(tmp_path / "from" / "deep" / "down")
    origin = {
        "folder": lambda: tmp_path / "from",
        "zip": lambda: as_zip(made, tmp_path / "a.zip"),
        "tar": lambda: as_tar(made, tmp_path / "a.tar.gz"),
    }[kind]()
    target = tmp_path / "data" / "tiny"
    assert place(TINY, origin, target) == {"train": 4, "test": 2, "labels": 3}
    assert sorted(p.name for p in target.iterdir()) == ["Yf.txt", "trn.json.gz", "tst.json.gz"]
    assert TINY.found(target) is XMC
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda folder: write_xmc(folder, n_train=5), "train: 5 instead of 4"),
        (lambda folder: write_xmc(folder, labels="a\nb\nc\nd\n"), "labels: 4 instead of 3"),
        (
            lambda folder: (folder / "tst.json.gz").unlink(),
            "wanted, in one folder: trn.json.gz, tst.json.gz, lbl",
        ),
        (lambda folder: (folder / "Yf.txt").write_text("a\nb\n"), "Label id 2 is out of range"),
        (lambda folder: (folder / "trn.json.gz").write_bytes(gzip.compress(b"{")), "trn.json.gz:1"),
    ],
)
def test_files_that_are_not_the_sets_leave_nothing_behind(
    tmp_path: Path, spoil: Callable[[Path], object], what: str
) -> None:
    folder = write_xmc(tmp_path / "from")
    spoil(folder)
    with pytest.raises(CorpusError) as caught:
        place(TINY, folder, tmp_path / "data" / "tiny")
    assert what in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_broken_archive(tmp_path: Path) -> None:
    whole = as_zip(write_xmc(tmp_path / "from"), tmp_path / "a.zip").read_bytes()
    spoiled = bytearray(whole)
    spoiled[whole.index(b"trn.json.gz") + 40] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(spoiled)
    with pytest.raises(CorpusError, match=r"b\.zip: The archive cannot be read"):
        place(TINY, tmp_path / "b.zip", tmp_path / "data" / "tiny")
    tar = as_tar(tmp_path / "from", tmp_path / "c.tar.gz").read_bytes()
    (tmp_path / "c.tar.gz").write_bytes(tar[: len(tar) // 2])
    with pytest.raises(CorpusError, match=r"c\.tar\.gz"):
        place(TINY, tmp_path / "c.tar.gz", tmp_path / "data" / "tiny")
    (tmp_path / "d.zip").write_bytes(b"neither")
    with pytest.raises(CorpusError, match="neither a folder nor"):
        place(TINY, tmp_path / "d.zip", tmp_path / "data" / "tiny")
    with pytest.raises(CorpusError, match="no such file"):
        place(TINY, tmp_path / "e.zip", tmp_path / "data" / "tiny")


def test_an_archive_that_python_cannot_unpack(tmp_path: Path) -> None:
    whole = as_zip(write_xmc(tmp_path / "from"), tmp_path / "a.zip").read_bytes()
    encrypted, unknown = bytearray(whole), bytearray(whole)
    for i in range(len(whole)):
        if whole[i : i + 4] in (b"PK\3\4", b"PK\1\2"):
            flags = i + (6 if whole[i + 2] == 3 else 8)
            encrypted[flags] |= 1
            unknown[flags + 2] = 9  # Deflate64
    (tmp_path / "b.zip").write_bytes(encrypted)
    (tmp_path / "c.zip").write_bytes(unknown)
    with tarfile.open(tmp_path / "d.tar.xz", "w:xz") as tarred:
        tarred.add(tmp_path / "from", "tiny")
    spoiled = bytearray((tmp_path / "d.tar.xz").read_bytes())
    spoiled[-40] ^= 0xFF  # its index, behind the last block
    (tmp_path / "d.tar.xz").write_bytes(spoiled)
    for name in ("b.zip", "c.zip", "d.tar.xz"):
        with pytest.raises(CorpusError, match=r"cannot be read: [\s\S]*unpack it and name the folder"):
            place(TINY, tmp_path / name, tmp_path / "data" / "tiny")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_target_that_is_a_file_or_a_link(tmp_path: Path) -> None:
    folder = write_xmc(tmp_path / "from")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorpusError, match="This is a file"):
        place(TINY, folder, tmp_path / "file")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    place(TINY, folder, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert TINY.found(tmp_path / "disk") is XMC


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    folder, target = write_xmc(tmp_path / "from"), tmp_path / "data" / "tiny"
    target.mkdir(parents=True)
    place(TINY, folder, target)  # an empty folder is no hindrance
    with pytest.raises(CorpusError, match="files here already"):
        place(TINY, folder, target)


def test_members_that_point_outside_stay_inside(tmp_path: Path) -> None:
    folder = write_xmc(tmp_path / "from")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for file in folder.iterdir():
            zipped.write(file, f"../../{file.name}")
    place(TINY, tmp_path / "a.zip", tmp_path / "deep" / "data" / "tiny")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "deep", "from"]


def test_of_several_sets_in_one_folder_the_named_one_is_taken(tmp_path: Path) -> None:
    write_xmc(tmp_path / "from" / "another", n_train=9)
    write_xmc(tmp_path / "from" / "Tiny")
    assert place(TINY, tmp_path / "from", tmp_path / "tiny")["train"] == 4


def test_the_catalogues_counts_are_the_papers() -> None:
    counts = {
        name: (known.counts.get("train"), known.counts.get("test"), known.n_labels)
        for name, known in CATALOG.items()
    }
    assert counts["eurlex-4k"] == (15_449, 3_865, 3_956)
    assert counts["wiki10-31k"] == (14_146, 6_616, 30_938)
    assert counts["amazoncat-13k"] == (1_186_239, 306_782, 13_330)
    assert counts["lf-wikiseealso-320k"] == (693_082, 177_515, 312_330)
    assert counts["lf-wikipedia-500k"] == (1_813_391, 783_743, 501_070)


def test_counts_that_differ_are_named_with_what_was_expected() -> None:
    known = CATALOG["sst2"]
    known.check_counts({"train": 67_349, "dev": 872, "test": 1_821}, 2, "here")
    with pytest.raises(CorpusError) as caught:
        known.check_counts({"train": 67_349, "test": 1_820}, 2, "here")
    assert "dev: 0 instead of 872; test: 1,820 instead of 1,821." in str(caught.value)
    assert "train" not in caught.value.what
    with pytest.raises(CorpusError, match="labels: 3 instead of 2"):
        known.check_counts({"train": 67_349, "dev": 872, "test": 1_821}, 3, "here")


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(CorpusError) as caught:
        find_known("eurlex4k")
    assert caught.value.nearest == "eurlex-4k"


def test_layouts_prefer_the_file_that_holds_labels() -> None:
    names = ["trn.json.gz", "tst.json.gz", "Yf.txt", "lbl.json.gz", "notes"]
    assert XMC.taken(names) == ["trn.json.gz", "tst.json.gz", "lbl.json.gz"]
    assert XMC.missing(names[:1]) == ["tst.json.gz", "lbl.json.gz or Y.txt or Yf.txt"]
    assert JSONL.taken(["label_ids.txt", "labels.txt"]) == ["labels.txt", "label_ids.txt"]


def test_data_lie_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known: KnownSet = CATALOG["r8"]
    assert known.folder() == Path("data/r8")
    monkeypatch.setenv("LMTEACH_DATA", str(tmp_path))
    assert known.folder() == tmp_path / "r8"
    assert catalog.file_names(known.folder()) == []
