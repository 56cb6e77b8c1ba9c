"""A classifier at work: exported, loaded by transformers, served; its classes cannot be changed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmteach import load_student
from lmteach.serving.export import ExportOptions, export_run
from lmteach.tracking.console import Console

TOPICS = {
    "ships": "yacht mast anchor harbour tide rudder regatta hull keel crew",
    "law": "court judge contract plaintiff verdict statute lawyer appeal evidence trial",
}
TEXTS = ["anchor rudder hull", "court verdict appeal", "harbour lawyer"]


def write_topics(folder: Path) -> Path:
    folder.mkdir()
    rng = random.Random(2)
    for split, n in (("train", 40), ("test", 20)):
        lines = []
        for i in range(n):
            words = rng.sample(list(TOPICS.values())[i % 2].split(), 5)
            lines.append(json.dumps({"id": f"{split}{i}", "text": " ".join(words), "labels": [i % 2]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("\n".join(TOPICS) + "\n")
    return folder


@pytest.fixture(scope="module", params=["full", "frozen"])
def exported_classifier(
    request: pytest.FixtureRequest,
    minilm1: Path,
    cache_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, Path]:
    """A run and its exported student, tuned in full or a head on frozen features: (tuning, run, export)."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe

    folder = tmp_path_factory.mktemp("classifier")
    student: dict[str, Any] = {
        "kind": "classifier",
        "tuning": request.param,
        "encoder": {"model": str(minilm1), "document_length": 16},
    }
    if request.param == "frozen":
        student["backbones"] = [{"model": str(minilm1), "max_tokens": 16, "precision": "fp32"}]
        student["fusion"] = {"name": "concat"}
    keys = {
        "name": "topics",
        "corpus": {"path": str(write_topics(folder / "corpus")), "n_dev": 0},
        "student": student,
        "training": {"epochs": 8, "batch_size": 8, "lr": 1e-3, "warmup_steps": 0, "precision": "fp32"},
        "evaluation": {"resamples": 50},
        "run": {
            "folder": str(folder / "run"),
            "store": str(folder / "s.sqlite"),
            "features": str(folder / "features"),
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(folder / "recipe.yaml")).recipe, Console(quiet=True))
        export_run(folder / "run", folder / "out", ExportOptions(), Console(quiet=True))
    return request.param, folder / "run", folder / "out"


def test_it_says_the_same_exported(exported_classifier: tuple[str, Path, Path], call) -> None:
    tuning, run, out = exported_classifier
    one, two = load_student(run), load_student(out)
    assert (two.kind, two.labels, two.backend) == ("classifier", tuple(TOPICS), "torch")
    for a, b in zip(one.predict(TEXTS, 2), two.predict(TEXTS, 2), strict=True):
        assert a.labels == b.labels
        assert a.scores == pytest.approx(b.scores, abs=1e-5)
        assert a.probabilities == a.scores
    (kept,) = two.predict(TEXTS[:1], 2, threshold=0.5)
    assert len(kept.labels) == 1
    card = (out / "README.md").read_text()
    assert "gold labels of the corpus" in card
    assert "accuracy" in card
    assert ("frozen features" in card) == (tuning == "frozen")
    status, _, err = call("export", run, "--to", out.parent / "onnx", "--onnx")
    assert status == 1
    assert "--onnx exports taggers" in err


def test_gold_of_ones_own_gives_thresholds(
    exported_classifier: tuple[str, Path, Path], call, tmp_path: Path
) -> None:
    _, run, _ = exported_classifier
    gold = run.parent / "corpus" / "test.jsonl"
    status, said, err = call("export", run, "--to", tmp_path / "out", "--dev", gold)
    assert status == 0, err
    assert "the gold labels of 20 documents" in said
    student = load_student(tmp_path / "out")
    assert student.predict(TEXTS, 2, threshold="f1")
    (tags,) = student.predict(TEXTS[:1], 2)
    assert tags.probabilities != tags.scores, "calibrated"


def test_transformers_loads_it(exported_classifier: tuple[str, Path, Path]) -> None:
    tuning, _, out = exported_classifier
    if tuning == "frozen":
        pytest.skip("a head on frozen features is no model of transformers")
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    batch = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        p = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(1)
    for row, tags in zip(p.tolist(), load_student(out).predict(TEXTS, 2), strict=True):
        found = dict(zip(tags.labels, tags.scores, strict=True))
        assert found == pytest.approx(
            {model.config.id2label[i]: value for i, value in enumerate(row)}, abs=1e-4
        )


@pytest.fixture(scope="module")
def served(exported_classifier: tuple[str, Path, Path], serving: Any) -> Any:
    pytest.importorskip("fastapi")
    return serving(exported_classifier[2])


def test_it_is_served(exported_classifier: tuple[str, Path, Path], served: Any) -> None:
    assert json.loads(served.get("/health")[1])["kind"] == "classifier"
    status, answer = served.post("/predict", {"texts": TEXTS, "threshold": 0.5})
    assert status == 200
    expected = load_student(exported_classifier[2]).predict(TEXTS, 2, threshold=0.5)
    assert [tuple(t["label"] for t in p["tags"]) for p in answer["predictions"]] == [
        t.labels for t in expected
    ]


def test_its_page_shows_one_class(
    exported_classifier: tuple[str, Path, Path], served: Any, browser: Any
) -> None:
    page = browser.new_page()
    page.goto(served.url + "/")
    page.fill("#text", TEXTS[0])
    page.click("#go")
    page.wait_for_selector("#result:not([hidden])")
    (tags,) = load_student(exported_classifier[2]).predict(TEXTS[:1], 2)
    assert (page.inner_text("#tags-title"), page.inner_text("#nearest-title")) == ("Class", "Other classes")
    assert page.locator("#tags tbody td.name").all_inner_texts() == [tags.labels[0]]
    assert page.locator("#nearest tbody td.name").all_inner_texts() == [tags.labels[1]]
    page.close()


def test_its_classes_stay(exported_classifier: tuple[str, Path, Path], call, tmp_path: Path) -> None:
    _, run, out = exported_classifier
    (tmp_path / "new.txt").write_text("music\n")
    for path in (run, out):
        status, _, err = call("labels", "add", path, tmp_path / "new.txt")
        assert status == 1
        assert "tagger" in err
    status, _, err = call("fit", "--from", run)
    assert status == 1
    assert "Only a tagger" in err
