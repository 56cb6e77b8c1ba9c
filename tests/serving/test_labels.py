"""Labels added and removed without retraining: whole, under concurrent writers, and refused in words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmteach import load_student
from lmteach.serving.labels import add_labels, list_labels, remove_labels
from lmteach.students.label_set import load_label_set, read_label_set, save_index


def _file(folder: Path, *names: str) -> Path:
    path = folder / f"labels{len(list(folder.iterdir()))}.txt"
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


@pytest.mark.parametrize("where", ["exported", "run"])
def test_a_new_label_is_found_by_its_own_vector(
    where: str, exported: Path, run_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "student"
    shutil.copytree(exported if where == "exported" else run_folder, path)
    before = load_student(path).predict(["bread and pastry"], 12)[0]
    change = add_labels(path, _file(tmp_path, "bread and pastry", "desk anna"))
    assert (change.n_changed, change.n_unchanged, change.n_labels) == (1, 1, 13)
    after = load_student(path).predict(["bread and pastry"], 13)[0]
    assert after.labels[0] == "bread and pastry"
    assert after.scores[0] == pytest.approx(1.0, abs=1e-4)
    rest = dict(zip(after.labels[1:], after.scores[1:], strict=True))
    assert rest == pytest.approx(dict(zip(before.labels, before.scores, strict=True)), abs=1e-5)
    assert [name for name, is_new in list_labels(path) if is_new] == ["bread and pastry"]
    assert remove_labels(path, _file(tmp_path, "bread and pastry", "desk leo")).n_labels == 11
    assert "desk leo" not in load_student(path).predict(["harbour"], 50)[0].labels


def test_a_loaded_student_takes_up_the_change_without_loading_its_encoder_again(
    copied: Path, tmp_path: Path
) -> None:
    student = load_student(copied)
    assert not student.labels_changed()
    add_labels(copied, _file(tmp_path, "the night sky"))
    assert student.labels_changed()
    fresh = student.with_current_labels()
    assert len(fresh.labels) == 13
    assert fresh.inner.session is student.inner.session
    assert len(student.labels) == 12


def test_a_description_is_encoded_where_the_recipe_says_so(copied: Path, tmp_path: Path) -> None:
    about = json.loads((copied / "serving.json").read_text())
    (copied / "serving.json").write_text(json.dumps({**about, "label_text": "{name}: {description}"}))
    labels = tmp_path / "new.jsonl"
    labels.write_text('{"name": "sky", "description": "comets and moons"}\n{"name": "bare"}\n')
    add_labels(copied, labels)
    assert load_label_set(copied).texts[-2:] == ["sky: comets and moons", "bare"]


def test_many_writers_lose_no_label(copied: Path, tmp_path: Path) -> None:
    files = [_file(tmp_path, *(f"label {i} {j}" for j in range(3))) for i in range(4)]
    program = "import sys; from pathlib import Path; from lmteach.serving.labels import add_labels; "
    program += "add_labels(Path(sys.argv[1]), Path(sys.argv[2]))"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(copied), str(file)]) for file in files]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    found = load_label_set(copied)
    assert len(found.names) == len(set(found.names)) == 12 + 12
    student = load_student(copied)
    assert found.vectors_lD == pytest.approx(student.encode(found.texts, "label"), abs=1e-4)
    assert len(list((copied / "label_sets").iterdir())) <= 2, "old label sets do not pile up"


def test_a_writer_that_dies_changes_nothing(copied: Path, tmp_path: Path, monkeypatch) -> None:
    import lmteach.students.label_set as module

    def dies(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        add_labels(copied, _file(tmp_path, "the night sky"))
    assert len(load_student(copied).labels) == 12
    monkeypatch.undo()
    assert add_labels(copied, _file(tmp_path, "the night sky")).n_labels == 13


@pytest.mark.parametrize(
    ("action", "content", "said"),
    [
        ("add", "", "There is no label here"),
        ("add", "a\nb\na\n", "labels.txt:3: The label 'a' is there twice: first on line 1."),
        ("remove", "desk ana\n", "The student has no label 'desk ana'. Did you mean 'desk anna'?"),
        ("add", None, "cannot be read"),
    ],
)
def test_what_cannot_be(
    call, copied: Path, tmp_path: Path, action: str, content: str | None, said: str
) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_text(content)
    status, _, err = call("labels", action, copied, path)
    assert status == 1
    assert said in err
    assert len(list_labels(copied)) == 12


def test_two_labels_must_stay(call, copied: Path, tmp_path: Path) -> None:
    names = [name for name, _ in list_labels(copied)]
    status, _, err = call("labels", "remove", copied, _file(tmp_path, *names[1:]))
    assert status == 1
    assert "Only 1 of 12 labels would stay" in err


def test_the_verb_lists(call, copied: Path, tmp_path: Path) -> None:
    assert call("labels", "add", copied, _file(tmp_path, "the night sky"))[0] == 0
    status, out, _ = call("labels", "list", copied)
    assert status == 0
    assert out.splitlines()[-1] == "the night sky\tadded"
    assert len(out.splitlines()) == 13
    assert call("labels", "list", tmp_path)[0] == 1
    assert call("labels", "add", copied)[0] == 1


def test_a_large_label_sets_index_is_saved_and_mapped(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("scann")
    import lmteach.students.label_set as module
    from lmteach.serving.label_search import build_search
    from lmteach.students.label_set import save_labels

    monkeypatch.setattr(module, "INDEX_FROM", 3000)
    vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"label {i}" for i in range(3000)]
    save_labels(tmp_path, names, names, vectors)
    assert not save_index(tmp_path, {"name": "auto"}, vectors), (
        "exact search is faster here, and needs no index"
    )
    section = {"name": "scann"}
    assert save_index(tmp_path, section, vectors)
    labels = read_label_set(tmp_path)
    assert labels.index is not None
    searcher = build_search(labels, section)
    assert not getattr(searcher, "is_exact", False)
    ids, _ = searcher.search(vectors[:200], 1)
    assert (ids[:, 0] == np.arange(200)).mean() > 0.8  # ScaNN trains by chance: .95 as a rule
    assert isinstance(labels.vectors_lD, np.memmap)
    assert not save_index(tmp_path, {"name": "exact"}, vectors)
