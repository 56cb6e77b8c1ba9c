"""`lmteach predict` on an exported student, and with a threshold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmteach import load_student

TEXTS = ["A note on bread, oven, flour, dough, salt, moon.", "A note on galaxy, comet, orbit, tax.", "x"]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    return path


def test_an_exported_student_tags_like_its_run(
    call, exported: Path, run_folder: Path, documents: Path
) -> None:
    for arguments in ([], ["--threshold", "f1"], ["--threshold", "0.5"]):
        lines = []
        for folder in (exported, run_folder):
            status, out, err = call("predict", folder, documents, "--top-k", 12, *arguments)
            assert status == 0, err
            lines.append([json.loads(line) for line in out.splitlines()])
        for one, two in zip(*lines, strict=True):
            assert one["labels"] == two["labels"]
            assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
    expected = load_student(run_folder).predict(TEXTS, 12, threshold=0.5)
    assert [tuple(line["labels"]) for line in lines[0]] == [tags.labels for tags in expected]


def test_a_threshold_that_is_not_there(call, exported: Path, documents: Path, tmp_path: Path) -> None:
    status, out, err = call("predict", exported, documents, "--threshold", "f2")
    assert (status, out) == (1, "")
    assert "There is no threshold 'f2'" in err
    status, _, err = call("predict", tmp_path, documents)
    assert status == 1
    assert "There is no run here" in err


def test_a_folder_of_shards(call, exported: Path, documents: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    documents.rename(shards / "a.jsonl")
    command = ("predict", exported, shards, "--output", tmp_path / "out", "--threshold", "f1", "--top-k", 12)
    status, _, err = call(*command)
    assert status == 0, err
    lines = [json.loads(line) for line in next((tmp_path / "out").glob("a*")).read_text().splitlines()]
    expected = load_student(exported).predict(TEXTS, 12, threshold="f1")
    assert [tuple(line["labels"]) for line in lines] == [tags.labels for tags in expected]
