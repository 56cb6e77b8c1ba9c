"""The cache: quick the second time, never half written, made anew when damaged or when the source changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmteach.corpus import cache as cache_module
from lmteach.corpus import writing
from lmteach.corpus.cache import StoredCorpus, load_cached
from lmteach.corpus.formats.registry import open_corpus
from lmteach.corpus.records import ReadOptions
from lmteach.errors import CorpusError

OPTIONS = ReadOptions()


def read(folder: Path, options: ReadOptions = OPTIONS) -> StoredCorpus:
    return load_cached("test", open_corpus(folder, "auto", options), options)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the source was read again")

    monkeypatch.setattr(cache_module, "write_corpus", refuse)


def test_the_second_time_nothing_is_read(
    make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_corpus()
    first = read(folder)
    forbid_reading(monkeypatch)
    second = read(folder)
    assert list(second.splits["train"]) == list(first.splits["train"])
    assert second.labels == first.labels
    assert second.splits["test"].fingerprint == first.splits["test"].fingerprint
    assert second.splits["train"]._path is not None  # mapped, not held


def test_another_template_or_a_changed_file_is_another_entry(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    old = read(folder).splits["train"]
    assert read(folder, ReadOptions(text="[{text}]")).splits["train"][0].text == "[train text 0]"
    lines = (folder / "train.jsonl").read_text().replace("train text 7", "train text X")
    (folder / "train.jsonl").write_text(lines)
    os.utime(folder / "train.jsonl", (time.time() + 5, time.time() + 5))
    new = read(folder).splits["train"]
    assert new[7].text == "train text X"
    assert new.fingerprint != old.fingerprint
    assert old[7].text == "train text 7"


def test_a_label_file_that_changes_is_noticed(make_corpus: Callable[..., Path]) -> None:
    folder = make_corpus()
    read(folder)
    (folder / "labels.txt").write_text("alpha\nbeta\ngamma\ndelta\n")
    assert len(read(folder).labels) == 4


@pytest.mark.parametrize(
    "damage", ["cut", "garbage", "no file", "no meta", "bad meta", "other meta", "empty"]
)
def test_a_damaged_entry_is_made_anew(make_corpus: Callable[..., Path], cache: Path, damage: str) -> None:
    folder = make_corpus()
    expected = list(read(folder).splits["train"])
    (entry,) = (cache / "corpora").iterdir()
    arrow, meta = entry / "train.arrow", entry / "meta.json"
    if damage == "cut":
        arrow.write_bytes(arrow.read_bytes()[:-100])
    elif damage == "garbage":
        arrow.write_bytes(b"\0" * arrow.stat().st_size)
    elif damage == "no file":
        arrow.unlink()
    elif damage == "no meta":
        meta.unlink()
    elif damage == "bad meta":
        meta.write_text("{")
    elif damage == "other meta":
        facts = json.loads(meta.read_text())
        facts["splits"]["train"]["n"] += 1
        meta.write_text(json.dumps(facts))
    else:
        meta.write_text("[]")
    assert list(read(folder).splits["train"]) == expected


def test_a_fault_leaves_nothing_in_the_cache(make_corpus: Callable[..., Path], cache: Path) -> None:
    folder = make_corpus(train=[{"text": "x", "labels": [0]}] * 3 + [{"text": ""}])
    with pytest.raises(CorpusError):
        read(folder)
    assert list((cache / "corpora").iterdir()) == []


def test_what_a_killed_process_left_is_swept_after_a_day(
    make_corpus: Callable[..., Path], cache: Path
) -> None:
    old, young = cache / "corpora" / "k.1.part", cache / "corpora" / "k.2.part"
    for part in (old, young):
        part.mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    read(make_corpus())
    assert not old.exists()
    assert young.exists()


def test_many_batches_hold_every_document_in_order(
    make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_BATCH_DOCUMENTS", 7)
    monkeypatch.setattr(writing, "_BATCH_CHARACTERS", 60)
    documents = read(make_corpus(train=100)).splits["train"]
    assert [d.text for d in documents] == [f"train text {i}" for i in range(100)]
    assert documents.texts([99, 0, 50, 50]) == [f"train text {i}" for i in (99, 0, 50, 50)]
    assert [int(documents.gold.of(i)[0]) for i in range(100)] == [i % 3 for i in range(100)]


READ_IN_A_PROCESS = """
import sys
from pathlib import Path
from lmteach.corpus.cache import load_cached
from lmteach.corpus.formats.registry import open_corpus
from lmteach.corpus.records import ReadOptions
from lmteach.errors import LmteachError
if len(sys.argv) > 2:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    stored = load_cached("test", open_corpus(Path(sys.argv[1]), "auto", ReadOptions()), ReadOptions())
    print(stored.splits["train"].fingerprint)
except LmteachError as error:
    sys.exit(f"lmteach: {error}")
"""


def test_processes_that_read_at_once_agree(make_corpus: Callable[..., Path], cache: Path) -> None:
    folder = make_corpus(train=3000)
    command = [sys.executable, "-c", READ_IN_A_PROCESS, str(folder)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert len(list((cache / "corpora").iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_file_that_cannot_grow_is_one_clear_error_and_leaves_nothing(
    make_corpus: Callable[..., Path], cache: Path
) -> None:
    folder = make_corpus(train=3000)
    command = [sys.executable, "-c", READ_IN_A_PROCESS, str(folder), "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "cannot be written to the cache" in done.stderr
    assert "LMTEACH_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((cache / "corpora").iterdir()) == []
    assert len(read(folder).splits["train"]) == 3000


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMTEACH_CACHE", str(tmp_path / "mine"))
    assert cache_module.cache_root() == tmp_path / "mine"
    monkeypatch.delenv("LMTEACH_CACHE")
    assert cache_module.cache_root() == Path.home() / ".cache" / "lmteach"
