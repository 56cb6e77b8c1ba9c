"""The verb `store`, run as a user runs it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmteach.cli import store as verb
from lmteach.errors import CorpusError, LmteachError, StoreError
from lmteach.teaching.records import Record, pair_keys
from lmteach.teaching.store import Store
from lmteach.types import Usage


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    usage = Usage(40, 2, 0.5, 0.001, 3.0)
    with Store.open(path, run="first") as store:
        for teacher, n in (("model=a prompt=1", 6), ("model=b prompt=1", 3)):
            keys = [pair_keys(teacher, f"d{i} ☃", ["c"])[0] for i in range(n)]
            scores = [None, *(float(i - 2) for i in range(1, n))]
            store.put_many(
                [
                    Record(key, teacher, score, f"raw\n{i}", usage, None, 1.7e9 + i, "run" if i else "first")
                    for i, (key, score) in enumerate(zip(keys, scores, strict=True))
                ]
            )
    return path


def call(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(a) for a in arguments]))


def test_stats(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("stats", "--store", filled) == 0
    text = capsys.readouterr().out
    assert "9 verdicts of 2 teachers" in text
    assert "1. model=a prompt=1\n   6 verdicts, yes 60.0%, unread 1 (16.7%)" in text
    assert "240 + 12 tokens, 3 s, 0.01 USD, 0.000 kWh; 2023-11-14 22:13 to" in text


def test_stats_as_json(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("stats", "--json", "--store", filled)
    first, second = json.loads(capsys.readouterr().out)
    assert (first["identity"], first["verdicts"], first["yes"], first["unread"]) == (
        "model=a prompt=1",
        6,
        3,
        1,
    )
    assert second["prompt_tokens"] == 120
    assert second["joules"] == 9.0


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_export_and_import_lose_nothing(
    filled: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "sub" / name, tmp_path / "other.sqlite"
    call("export", file, "--store", filled)
    assert "9 verdicts written" in capsys.readouterr().out
    assert (file.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    call("import", file, "--store", other)
    assert "9 of 9 verdicts were new" in capsys.readouterr().out
    call("import", file, "--store", other)
    assert "0 of 9 verdicts were new" in capsys.readouterr().out
    with Store.open(filled) as a, Store.open(other) as b:
        assert list(a.records()) == list(b.records())
    assert sorted(p.name for p in file.parent.iterdir()) == [name], "no partial file is left"


def test_export_of_one_teacher(filled: Path, tmp_path: Path) -> None:
    call("export", tmp_path / "b.jsonl", "--teacher", "model=b", "--store", filled)
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"lmteach_store": 1}
    assert {json.loads(line)["teacher"] for line in lines[1:]} == {"model=b prompt=1"}
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        (['{"lmteach_store": 1}', '{"key": "zz"}'], StoreError, r"x\.jsonl:2: .*no record"),
        (['{"lmteach_store": 1}', "{}"], StoreError, "'key' is missing"),
        (['{"lmteach_store": 1}', "", "nonsense"], CorpusError, r"x\.jsonl:3: The line is not JSON"),
        (['{"lmteach_store": 2}'], StoreError, "version 2; this lmteach reads up to 1"),
        (['{"text": "a"}'], StoreError, "no export of a store"),
        (
            [
                '{"lmteach_store": 1}',
                json.dumps({"key": "0" * 64, "teacher": "t", "score": 1e999, "created_at": "x"}),
            ],
            StoreError,
            "its score is inf",
        ),
        (
            [
                '{"lmteach_store": 1}',
                json.dumps({"key": "00", "teacher": "t", "score": 1, "created_at": "x"}),
            ],
            StoreError,
            "64 hexadecimal digits",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], error: type[LmteachError], said: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(error, match=said):
        call("import", file, "--store", tmp_path / "s.sqlite")


def test_a_truncated_export_keeps_what_came_before(filled: Path, tmp_path: Path) -> None:
    with Store.open(filled) as store:
        store.put_many([Record(pair_keys("t", f"d{i}", ["c"])[0], "t", float(i)) for i in range(30000)])
    file = tmp_path / "cut.jsonl.gz"
    call("export", file, "--store", filled)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CorpusError, match="truncated"):
        call("import", file, "--store", tmp_path / "s.sqlite")
    with Store.open(tmp_path / "s.sqlite") as store:
        assert 20000 < sum(s.verdicts for s in store.stats()) < 30009


def test_prune_counts_first_and_deletes_when_told(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("prune", "--unread", "--store", filled)
    assert "2 verdicts would be deleted; --yes deletes them" in capsys.readouterr().out
    call("prune", "--unread", "--teacher", "2", "--yes", "--store", filled)
    assert "1 verdicts deleted" in capsys.readouterr().out
    call("prune", "--before", "2023-11-14T22:13:22", "--yes", "--store", filled)
    assert "3 verdicts deleted" in capsys.readouterr().out
    call("prune", "--run", "nobody", "--yes", "--store", filled)
    assert "0 verdicts deleted" in capsys.readouterr().out
    with Store.open(filled) as store:
        assert [s.verdicts for s in store.stats()] == [4, 1]


def test_ambiguous_and_unknown_teachers_are_refused(filled: Path) -> None:
    with pytest.raises(
        StoreError, match=r"part of 2 teachers' identities[\s\S]*model=a prompt=1\n  model=b prompt=1"
    ):
        call("prune", "--teacher", "prompt=1", "--yes", "--store", filled)
    with pytest.raises(StoreError, match="No teacher is 'model=z'"):
        call("prune", "--teacher", "model=z", "--yes", "--store", filled)
    with pytest.raises(StoreError, match="Nothing says what to prune"):
        call("prune", "--yes", "--store", filled)
    with Store.open(filled) as store:
        assert sum(s.verdicts for s in store.stats()) == 9


@pytest.mark.parametrize("action", [["stats"], ["export", "x.jsonl"], ["prune", "--unread"]])
def test_looking_never_makes_a_store(tmp_path: Path, action: list[str]) -> None:
    with pytest.raises(StoreError, match="There is no store here"):
        call(*action, "--store", tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="export cannot be written"):
        call("export", tmp_path / "file" / "x.jsonl", "--store", filled)


def test_the_verbs_file_imports_no_database() -> None:
    script = (
        "import sys, lmteach.cli.store\n"
        "print([m for m in ('sqlalchemy', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
