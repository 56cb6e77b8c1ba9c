"""An exported student: other libraries load it, it encodes the same, and its card tells the run's own figures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from lmteach.errors import LmteachError, RunError
from lmteach.serving import onnx_export
from lmteach.serving.about import About
from lmteach.serving.export import ExportOptions, export_run
from lmteach.serving.load import load_student
from lmteach.tracking.console import Console

QUIET = Console(quiet=True)
TEXTS = ["A note on bread, oven, flour.", "x", "A note on " + "court judge contract verdict " * 20]


def test_sentence_transformers_encodes_the_same(exported: Path) -> None:
    import sentence_transformers

    theirs = sentence_transformers.SentenceTransformer(str(exported), device="cpu").encode(TEXTS)
    ours = load_student(exported, backend="torch").encode(TEXTS)
    assert np.abs(theirs - ours).max() < 1e-5


def test_onnx_and_torch_and_the_run_are_one_student(exported: Path, run_folder: Path) -> None:
    students = [
        load_student(exported, backend="onnx"),
        load_student(exported, backend="torch"),
        load_student(run_folder),
    ]
    assert [s.backend for s in students] == ["onnx", "torch", "torch"]
    answers = [s.predict(TEXTS, 12) for s in students]
    for other in answers[1:]:
        for one, two in zip(answers[0], other, strict=True):
            assert dict(zip(one.labels, one.scores, strict=True)) == pytest.approx(
                dict(zip(two.labels, two.scores, strict=True)), abs=1e-5
            )
            assert one.probabilities == pytest.approx(two.probabilities, abs=1e-3)


def test_labels_vectors_and_thresholds_are_beside_it(exported: Path, run_folder: Path) -> None:
    names = [json.loads(line)["name"] for line in (exported / "labels.jsonl").read_text().splitlines()]
    vectors = np.load(exported / "label_vectors.npy")
    assert len(names) == len(vectors) == 12
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-5)
    about = About.load(exported)
    assert about.calibration is not None
    assert "dev documents" in about.calibration.fitted_on
    assert about.onnx is not None
    assert about.onnx.greatest_difference <= onnx_export.GREATEST_DIFFERENCE
    assert about.onnx.n_texts > 12, "documents were compared too, not labels alone"


def test_the_card_tells_what_the_run_measured(exported: Path, run_folder: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    matter = yaml.safe_load(card.split("---")[1])
    assert matter["library_name"] == "sentence-transformers"
    final = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()][-1]
    low, high = final["intervals"][final["chosen"]]["p@1"]
    assert f"{final['student']['p@1']:.3f} [{low:.3f}, {high:.3f}]" in card
    assert f"| judgements made | {final['judgements']:,} |" in card
    assert "unread answers | 0 of" in card
    assert "`oracle`" in card
    assert "licence of the data" in card
    for line in card.splitlines():
        assert not line.startswith("|") or line.count("|") - line.count("\\|") in (3, 5, 6, 7, 9, 10), line


def test_a_teachers_prompt_stands_in_the_card(run_folder: Path, tmp_path: Path, own_cache: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    member = {"name": "transformers", "model": "some/model", "prompt": "about"}
    recipe["teacher"] = {"name": "ensemble", "members": [member]}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    export_run(run, tmp_path / "out", ExportOptions(), QUIET)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`ensemble` of: `transformers`, model `some/model`" in card
    assert "Topic: {candidate} Is the document about it?" in card
    assert "it repeats that model's mistakes" in card


def test_a_folder_with_something_in_it_is_left_alone(call, run_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    for arguments in ([], ["--force"]):
        status, _, err = call("export", run_folder, "--to", target, *arguments)
        assert status == 1
        assert str(target) in err
    assert (target / "thesis.txt").read_text() == "years of work"


def test_force_replaces_an_export_and_a_failed_one_leaves_the_old(
    call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    assert call("export", run_folder, "--to", target)[0] == 0
    assert call("export", run_folder, "--to", target)[0] == 1
    assert call("export", run_folder, "--to", target, "--force")[0] == 0
    before = sorted(p.name for p in target.rglob("*"))

    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmteach.serving.export.write_card", broken)
    status, _, err = call("export", run_folder, "--to", target, "--force")
    assert status == 1
    assert "disk is full" in err
    assert sorted(p.name for p in target.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing half written is left"


@pytest.fixture
def quick_graph(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph that was exported once already, since torch takes long to write one."""
    graph = exported / onnx_export.GRAPH
    monkeypatch.setattr(onnx_export, "_write_graph", lambda encoder, path: shutil.copy(graph, path))


def test_a_graph_that_is_not_the_student_is_refused(
    run_folder: Path, exported: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    def spoiled(encoder: object, path: Path) -> None:
        model = onnx.load(str(exported / onnx_export.GRAPH))
        largest = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        numbers = onnx.numpy_helper.to_array(largest).copy()
        numbers[:, :3] += 0.05
        largest.CopyFrom(onnx.numpy_helper.from_array(numbers, largest.name))
        onnx.save(model, str(path))

    monkeypatch.setattr(onnx_export, "_write_graph", spoiled)
    with pytest.raises(RunError, match="not the student"):
        export_run(run_folder, tmp_path / "out", ExportOptions(onnx=True), QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick_graph")
def test_int8_is_refused_where_it_changes_too_much_and_written_where_not(
    call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "INT8_LEAST_COSINE", 0.99999)
    status, _, err = call("export", run_folder, "--to", tmp_path / "out", "--int8")
    assert status == 1
    assert "int8 spoils this student" in err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(onnx_export, "INT8_LEAST_COSINE", 0.9)
    monkeypatch.setattr(onnx_export, "INT8_SAME_FIRST", 0.5)
    assert call("export", run_folder, "--to", tmp_path / "out", "--int8")[0] == 0
    student = load_student(tmp_path / "out")
    assert student.about.onnx is not None
    assert student.about.onnx.int8
    assert student.backend == "onnx"
    assert 0.9 < student.about.onnx.least_cosine < 0.99999


def test_gold_of_ones_own_moves_the_thresholds(call, run_folder: Path, tmp_path: Path, desks: Path) -> None:
    out = tmp_path / "out"
    status, said, _ = call("export", run_folder, "--to", out, "--dev", desks / "test.jsonl", "--recall", 0.95)
    assert status == 0
    assert "the gold labels of 60 documents (test.jsonl)" in said
    calibration = About.load(out).calibration
    assert calibration is not None
    assert calibration.n_documents == 60
    assert calibration.reached["recall"]["recall"] >= 0.95
    (tmp_path / "bad.jsonl").write_text('{"text": "bread", "labels": ["desk ana"]}\n')
    status, _, err = call("export", run_folder, "--to", tmp_path / "b", "--dev", tmp_path / "bad.jsonl")
    assert status == 1
    assert "bad.jsonl:1" in err
    assert "Did you mean 'desk anna'?" in err


def test_labels_in_force_are_what_is_exported(call, run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (tmp_path / "new.txt").write_text("the night sky\n")
    (tmp_path / "old.txt").write_text("desk leo\n")
    assert call("labels", "add", run, tmp_path / "new.txt")[0] == 0
    assert call("labels", "remove", run, tmp_path / "old.txt")[0] == 0
    assert call("export", run, "--to", tmp_path / "out")[0] == 0
    assert set(load_student(tmp_path / "out").labels) == set(load_student(run).labels)
    assert "the night sky" in load_student(tmp_path / "out").labels
    assert not (tmp_path / "out" / "label_sets").exists()
    assert not (tmp_path / "out" / "label_set.json").exists()


def test_a_hub_out_of_reach_is_one_clear_error(call, run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    out = tmp_path / "out"
    status, _, err = call("export", run_folder, "--to", out, "--push-to-hub", "me/desks")
    assert status == 1
    assert "could not be pushed to 'me/desks'" in err
    assert str(out) in err
    assert (out / "README.md").is_file(), "what was exported stays"


def test_what_is_no_run(call, tmp_path: Path) -> None:
    status, _, err = call("export", tmp_path / "nothing", "--to", tmp_path / "out")
    assert status == 1
    assert "There is no run here" in err


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_an_aim_that_is_no_share(run_folder: Path, tmp_path: Path, share: float) -> None:
    from lmteach.serving.thresholds import Targets

    options = dataclasses.replace(ExportOptions(), targets=Targets(precision=share))
    with pytest.raises(LmteachError, match="between 0 and 1"):
        export_run(run_folder, tmp_path / "out", options, QUIET)
