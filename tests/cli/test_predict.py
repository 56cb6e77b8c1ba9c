"""predict: lines in, lines out, in order; and evaluate: a finished run measured again."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.cli import predict
from lmteach.tracking.run_folder import RunFolder

TEXTS = {
    7: "A note on bread, oven, flour, dough, yeast, goal, keeper, league.",
    "b": "A note on moon, comet, galaxy, planet, star, loan, bank, tax.",
    "ünï ☃": "A note on verdict, judge, lawyer, trial, court, soil, rose, seed.",
}


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "docs.jsonl", [{"id": id_, "text": text} for id_, text in TEXTS.items()])


@pytest.fixture
def run(finished_run) -> Path:
    return finished_run[0]


def read(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_documents_are_tagged_in_order_with_their_ids(call, run, documents) -> None:
    status, out, err = call("predict", run, documents, "--top-k", 3)
    assert status == 0
    assert err.endswith("predict: 3 documents\n")
    lines = read(out)
    assert [line["id"] for line in lines] == list(TEXTS)
    for line in lines:
        assert list(line) == ["id", "labels", "scores"]
        assert len(line["labels"]) == len(line["scores"]) == 3
        assert line["scores"] == sorted(line["scores"], reverse=True)


def test_the_labels_are_those_that_another_library_finds(call, run, documents) -> None:
    """sentence-transformers encodes with the saved student; the nearest of the saved label vectors are the tags."""
    from sentence_transformers import SentenceTransformer

    student = run / "student"
    names = [json.loads(line)["name"] for line in (student / "labels.jsonl").read_text().splitlines()]
    texts = list(TEXTS.values())
    vectors = SentenceTransformer(str(student), device="cpu").encode(texts, normalize_embeddings=True)
    scores = vectors @ np.load(student / "label_vectors.npy").T
    lines = read(call("predict", run, documents, "--top-k", 3)[1])
    for line, expected in zip(lines, scores, strict=True):
        order = np.argsort(-expected)[:3]
        assert line["labels"] == [names[i] for i in order]
        assert line["scores"] == pytest.approx(expected[order].tolist(), abs=1e-3)


def test_the_output_file_holds_the_same_and_nothing_is_left_beside_it(call, run, documents, tmp_path) -> None:
    _, out, _ = call("predict", run, documents)
    status, nothing, _ = call("predict", run, documents, "--output", tmp_path / "out.jsonl")
    assert (status, nothing) == (0, "")
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["docs.jsonl", "out.jsonl"]


def test_more_labels_than_there_are_gives_all(call, run, documents) -> None:
    status, out, _ = call("predict", run, documents, "--top-k", 500)
    assert status == 0
    assert all(len(set(line["labels"])) == 12 for line in read(out))


@pytest.mark.parametrize("k", [0, -1])
def test_no_labels_at_all_make_no_sense(call, run, documents, k: int) -> None:
    status, out, err = call("predict", run, documents, "--top-k", k)
    assert (status, out) == (1, "")
    assert f"--top-k is {k}; it must be 1 or more" in err


def test_many_chunks_are_one_stream(call, run, tmp_path, monkeypatch) -> None:
    records = [{"id": i, "text": f"note {i} on {' bread' * (i % 7)}"} for i in range(23)]
    whole = write_lines(tmp_path / "docs.jsonl", records)
    _, at_once, _ = call("predict", run, whole)
    monkeypatch.setattr(predict, "CHUNK", 4)
    _, in_chunks, err = call("predict", run, whole)
    assert "23 documents" in err
    assert [line["id"] for line in read(in_chunks)] == list(range(23))
    for one, other in zip(read(at_once), read(in_chunks), strict=True):
        assert one["labels"] == other["labels"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_output_is_streamed_while_input_still_comes(spawn, run) -> None:
    """A chunk is out before the next is read, so memory does not grow with the input."""
    process = spawn("predict", run, "-", "--top-k", 1, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("".join(json.dumps({"id": i, "text": "bread"}) + "\n" for i in range(predict.CHUNK)))
    process.stdin.flush()
    first = process.stdout.readline()
    assert json.loads(first)["id"] == 0, "the first chunk is out although the input is open"
    out, err = process.communicate(json.dumps({"text": "moon"}) + "\n", timeout=120)
    assert process.returncode == 0, err
    last = json.loads(out.splitlines()[-1])
    assert last["id"] == str(predict.CHUNK + 1), "a document without an id is called by its line"


def test_standard_input_is_read(call, run, documents, monkeypatch) -> None:
    _, expected, _ = call("predict", run, documents)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(documents.read_bytes())))
    status, out, _ = call("predict", run, "-")
    assert (status, out) == (0, expected)


def test_other_formats(call, run, documents, tmp_path) -> None:
    _, expected, _ = call("predict", run, documents)
    (tmp_path / "docs.jsonl.gz").write_bytes(gzip.compress(documents.read_bytes()))
    rows = "".join(f'{id_},"{text}"\n' for id_, text in TEXTS.items())
    (tmp_path / "docs.csv").write_text(f"id,text\n{rows}", encoding="utf-8")
    assert call("predict", run, tmp_path / "docs.jsonl.gz")[1] == expected
    assert call("predict", run, tmp_path / "docs.csv")[1].replace('"7"', "7") == expected


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_empty_input_gives_empty_output(call, run, tmp_path, content: str) -> None:
    (tmp_path / "docs.jsonl").write_text(content)
    status, _, err = call("predict", run, tmp_path / "docs.jsonl", "--output", tmp_path / "out.jsonl")
    assert status == 0
    assert "0 documents" in err
    assert (tmp_path / "out.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{nonsense", "docs.jsonl:2: The line is not JSON"),
        ('{"id": 1, "text": ""}', "docs.jsonl:2: The document has no text"),
        ('{"id": 1, "body": "x"}', "docs.jsonl:2: There is no field 'text'"),
        ("[1, 2]", "docs.jsonl:2: The line holds no JSON object"),
        ('{"id": {"a": 1}, "text": "x"}', "docs.jsonl:2: The field 'id'"),
        ('{"text": "half \\ud800 a character"}', "docs.jsonl:2: "),
        ('{"id": "\\ud800", "text": "x"}', "docs.jsonl:2: "),
    ],
)
def test_a_malformed_line_is_named_and_the_output_is_not_there(
    call, run, tmp_path, line: str, said: str
) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    status, _, err = call("predict", run, tmp_path / "docs.jsonl", "--output", tmp_path / "out.jsonl")
    assert status == 1
    assert said in err
    assert not (tmp_path / "out.jsonl").exists(), "half an output must not pass for a whole one"
    partial = tmp_path / "out.jsonl.partial"
    assert f"what was tagged by then is in {partial}" in err
    assert [line["id"] for line in read(partial.read_text())] == ["1"]


def test_a_malformed_line_on_standard_input_is_named(call, run, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n{"text"\n')))
    status, _, err = call("predict", run, "-")
    assert status == 1
    assert "standard input:2: The line is not JSON" in err


@pytest.mark.parametrize(
    ("input_name", "output", "said"),
    [
        ("none.jsonl", "out.jsonl", "none.jsonl: There is no such file"),
        ("docs.xyz", "out.jsonl", "docs.xyz: This kind of file is not known"),
        ("docs.jsonl", "no/such/out.jsonl", "no/such/out.jsonl is in a folder that does not exist"),
        ("docs.jsonl", "folder", "folder is a folder"),
    ],
)
def test_files_that_cannot_be(call, run, documents, tmp_path, input_name, output, said) -> None:
    (tmp_path / "docs.xyz").write_text("")
    (tmp_path / "folder").mkdir()
    status, _, err = call("predict", run, tmp_path / input_name, "--output", tmp_path / output)
    assert status == 1
    assert said in err
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_that_is_no_run(call, documents, tmp_path) -> None:
    status, _, err = call("predict", tmp_path, documents)
    assert status == 1
    assert "There is no run here (no recipe.yaml)" in err


def test_a_folder_that_holds_runs_names_them(call, documents, tmp_path) -> None:
    for name in ("gold", "teacher"):
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "recipe.yaml").write_text("")
    status, _, err = call("predict", tmp_path / "all", documents)
    assert status == 1
    assert "There is no run here, but within: gold, teacher." in err
    assert f"{tmp_path}/all/gold" in err


def test_a_threshold_that_is_none(call, documents, run) -> None:
    status, _, err = call("predict", run, documents, "--threshold", "precison")
    assert status == 1
    assert "Did you mean 'precision'?" in err


def test_a_run_without_a_student(call, documents, run, tmp_path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.yaml").write_bytes((run / "recipe.yaml").read_bytes())
    for verb in (("predict", tmp_path / "half", documents), ("evaluate", tmp_path / "half")):
        status, _, err = call(*verb)
        assert status == 1
        assert "This run has no student yet" in err
        assert "--resume" in err


@pytest.fixture
def own_run(finished_run, tmp_path: Path) -> Path:
    """A copy of the finished run: `evaluate` writes into it, and others look at the original."""
    return shutil.copytree(finished_run[0], tmp_path / "run")


def test_evaluate_finds_what_the_run_found(call, own_run, finished_run) -> None:
    n_before = len(RunFolder(own_run).events())
    status, out, err = call("evaluate", own_run)
    assert status == 0
    assert "60 held-out documents, 95% bootstrap intervals" in out
    assert "P@1 gained over the untuned student" in out
    assert "encode test documents" in err
    final, event = finished_run[1], RunFolder(own_run).events()[-1]
    assert len(RunFolder(own_run).events()) == n_before + 1
    assert event["event"] == "evaluation"
    for student in ("untuned", "student"):
        assert event[student] == pytest.approx(final[student], abs=1e-6)


def test_evaluate_takes_overrides_and_refuses_unknown_ones(call, own_run) -> None:
    status, out, err = call("evaluate", own_run, "--quiet", "corpus.n_test=20", "evaluation.ks=[1]")
    assert (status, err) == (0, "")
    assert "20 held-out documents" in out
    assert "P@5" not in out
    status, _, err = call("evaluate", own_run, "corpus.ntest=20")
    assert status == 1
    assert "Did you mean 'n_test'?" in err
