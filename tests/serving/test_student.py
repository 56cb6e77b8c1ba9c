"""`load_student(path).predict(texts)`: labels, scores, probabilities, thresholds; light without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmteach import Student, Tags, load_student
from lmteach.errors import LmteachError, PluginError, RunError
from lmteach.serving import load as load_module

TEXTS = ["A note on bread, oven, flour, dough, salt, moon.", "A note on galaxy, comet, orbit, nebula, tax."]


@pytest.fixture(scope="module")
def student(exported: Path) -> Student:
    return load_student(exported)


def test_labels_best_first_with_rising_probabilities(student: Student) -> None:
    for tags in student.predict(TEXTS, top_k=5):
        assert isinstance(tags, Tags)
        assert len(tags.labels) == len(tags.scores) == len(tags.probabilities) == 5
        assert list(tags.scores) == sorted(tags.scores, reverse=True)
        assert list(tags.probabilities) == sorted(tags.probabilities, reverse=True)
        assert all(0 <= p <= 1 for p in tags.probabilities)
    assert student.predict([], 5) == []


@pytest.mark.parametrize("threshold", ["f1", "recall"])
def test_a_named_threshold_keeps_what_reaches_its_score(student: Student, threshold: str) -> None:
    assert student.about.calibration is not None
    least = student.about.calibration.least_score(threshold)
    for every, kept in zip(
        student.predict(TEXTS, 12), student.predict(TEXTS, 12, threshold=threshold), strict=True
    ):
        assert kept.labels == tuple(
            label for label, score in zip(every.labels, every.scores, strict=True) if score >= least - 1e-6
        )
        assert len(kept.labels) < 12, "a threshold that lets all through decides nothing"


def test_a_probability_as_threshold(student: Student) -> None:
    (every,) = student.predict(TEXTS[:1], 12)
    middle = (every.probabilities[1] + every.probabilities[2]) / 2
    (kept,) = student.predict(TEXTS[:1], 12, threshold=middle)
    assert kept == every.cut(2)
    (cut,) = student.predict(TEXTS[:1], 1, threshold=middle)
    assert cut == every.cut(1), "top_k still bounds it"
    assert student.predict(TEXTS[:1], 12, threshold=1.0)[0].labels == ()


def test_wrong_arguments_are_said(student: Student) -> None:
    for arguments, said in [
        ((["x"], 0), "top_k is 0"),
        (("bread", 5), "not one text"),
        ((["x"], 5, "precison"), "Did you mean 'precision'"),
        ((["x"], 5, 1.5), "between 0 and 1"),
        ((["x"], 5, float("nan")), "between 0 and 1"),
        ((["x"], 5, True), "between 0 and 1"),
    ]:
        with pytest.raises(LmteachError, match=said):
            student.predict(*arguments)


def test_an_onnx_student_needs_no_torch_and_imports_quickly(exported: Path) -> None:
    program = f"""
import sys, time
start = time.perf_counter()
from lmteach import load_student
student = load_student({str(exported)!r})
seconds = time.perf_counter() - start
tags = student.predict(["A note on bread, oven, flour, dough, salt, moon."], top_k=3, threshold="f1")
import json
heavy = [name for name in ("torch", "transformers", "lightning", "pyarrow", "sqlalchemy") if name in sys.modules]
print(json.dumps([student.backend, heavy, seconds, tags[0].labels]))
"""
    text = "A note on bread, oven, flour, dough, salt, moon."
    (expected,) = load_student(exported, backend="torch").predict([text], top_k=3, threshold="f1")
    best = 99.0
    for _ in range(3):  # other work on the machine must not fail it
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
        ).stdout
        backend, heavy, seconds, labels = json.loads(said)
        assert (backend, heavy) == ("onnx", [])
        assert tuple(labels) == expected.labels
        best = min(best, seconds)
    assert best < 2


def test_importing_lmteach_alone_imports_nothing() -> None:
    start = time.perf_counter()
    program = "import sys, lmteach; print('numpy' in sys.modules, lmteach.__version__)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("False")
    assert time.perf_counter() - start < 20


def test_without_onnxruntime_auto_takes_torch_and_onnx_says_what_to_install(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load_module.importlib.util.find_spec
    monkeypatch.setattr(
        load_module.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnxruntime" else real(name, *rest),
    )
    assert load_student(exported).backend == "torch"
    with pytest.raises(PluginError, match=r"lmteach\[serve\]"):
        load_student(exported, backend="onnx")


def test_a_folder_without_a_student(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(RunError, match="There is no student here"):
        load_student(tmp_path)
    with pytest.raises(RunError, match="--onnx"):
        load_student(run_folder, backend="onnx")


def test_damage_is_one_clear_error(copied: Path) -> None:
    about = json.loads((copied / "serving.json").read_text())
    (copied / "serving.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(RunError, match="format 99"):
        load_student(copied)
    (copied / "serving.json").write_text(json.dumps({**about, "colour": "green"}))
    with pytest.raises(RunError, match="cannot be read"):
        load_student(copied)
    (copied / "serving.json").write_text(json.dumps(about))
    (copied / "onnx" / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_student(copied)


def test_a_student_without_calibration_has_no_probabilities(copied: Path) -> None:
    about = json.loads((copied / "serving.json").read_text())
    (copied / "serving.json").write_text(json.dumps({**about, "calibration": None}))
    student = load_student(copied)
    assert student.predict(["bread"], 3)[0].probabilities == ()
    assert student.thresholds == {}
    for threshold in ("f1", 0.5):
        with pytest.raises(LmteachError, match="nothing to fit"):
            student.predict(["bread"], 3, threshold)
