"""A classifier's run end to end: trained, measured, kept, resumed; frozen, full and by adapters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lmteach.curriculum.context import open_context
from lmteach.curriculum.cycles import fit
from lmteach.curriculum.open_run import open_student
from lmteach.curriculum.supervision import gold_texts
from lmteach.errors import CorpusError, RecipeError, RunError
from lmteach.recipe.load import load_recipe
from lmteach.students.class_student import logits_of
from lmteach.students.open_classifier import reopen_student
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder

TOPICS = {
    "ships": "yacht mast anchor harbour tide rudder regatta hull keel crew",
    "law": "court judge contract plaintiff verdict statute lawyer appeal evidence trial",
    "music": "guitar melody orchestra piano chord concert singer rhythm violin album",
}


def write_topics(folder: Path, n_train: int = 90, n_test: int = 60) -> Path:
    """Notes on one topic each, in JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(2)
    for split, n in (("train", n_train), ("test", n_test)):
        lines = []
        for i in range(n):
            topic = rng.randrange(len(TOPICS))
            words = rng.sample(list(TOPICS.values())[topic].split(), rng.randint(3, 8))
            lines.append(json.dumps({"id": f"{split}{i}", "text": " ".join(words), "labels": [topic]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("\n".join(TOPICS) + "\n")
    return folder


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_topics(tmp_path_factory.mktemp("corpora") / "topics")


def recipe_keys(topics: Path, minilm1: Path, tuning: str) -> dict[str, Any]:
    backbones = [
        {"model": str(minilm1), "name": "mean", "layers": [0, 1], "max_tokens": 16, "precision": "fp32"},
        {"model": str(minilm1), "name": "first", "pooling": "first", "max_tokens": 16, "precision": "fp32"},
    ]
    student = {
        "kind": "classifier",
        "tuning": tuning,
        "encoder": {"model": str(minilm1), "document_length": 16},
        "fusion": {"name": "concat", "normalise": "standard", "backbone_dropout": 0.2},
        **({"backbones": backbones} if tuning == "frozen" else {}),
    }
    training = {
        "epochs": 12,
        "batch_size": 16,
        "lr": {"frozen": 1e-2, "full": 1e-3, "lora": 3e-2}[tuning],
        "warmup_steps": 0,
        "precision": "fp32",
        "drop_last": False,
        "validation": 0.2,
    }
    return {
        "name": tuning,
        "seed": 4,
        "corpus": {"path": str(topics), "n_dev": 0},
        "student": student,
        "training": training,
        "evaluation": {"resamples": 50},
    }


def write(folder: Path, keys: dict[str, Any]) -> Path:
    run = {
        "folder": str(folder / "run"),
        "store": str(folder / "s.sqlite"),
        "features": str(folder / "features"),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**keys, "run": run}))
    return folder / "recipe.yaml"


def run(path: Path, *overrides: str, resume: bool = False) -> dict[str, Any]:
    return fit(load_recipe(str(path), list(overrides)).recipe, Console(quiet=True), resume=resume)


@pytest.fixture(scope="module")
def runs(topics: Path, minilm1: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run of each tuning, made when asked for: (its recipe, its final line)."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}

    def of(tuning: str) -> tuple[Path, dict[str, Any]]:
        if tuning not in made:
            path = write(tmp_path_factory.mktemp(tuning), recipe_keys(topics, minilm1, tuning))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LMTEACH_CACHE", str(cache_folder))
                made[tuning] = path, run(path)
        return made[tuning]

    return of


@pytest.mark.parametrize("tuning", ["frozen", "full", "lora"])
def test_a_classifier_learns_and_says_how_well(runs: Any, tuning: str) -> None:
    path, final = runs(tuning)
    assert final["student"]["accuracy"] > 0.9
    low, high = final["intervals"]["student"]["accuracy"]
    assert low <= final["student"]["accuracy"] <= high
    assert (final["event"], final["kind"], final["supervision"]) == ("final", "classifier", "gold")
    assert final["test_documents"] == 60
    (stage,) = final["stages"]
    assert stage["documents"] == 72
    assert stage["validation_accuracy"] > 0.8
    assert sum(one["documents"] for one in final["classes"]) == 60
    events = RunFolder(path.parent / "run").events()
    assert [event["event"] for event in events] == ["stage", "final"]
    assert json.loads((path.parent / "run" / "manifest.json").read_text())["student_start"][0]["fingerprint"]


@pytest.mark.parametrize("tuning", ["frozen", "full", "lora"])
def test_the_students_folder_classifies_alone(runs: Any, topics: Path, tuning: str) -> None:
    """What was measured is what is served: the run's accuracy comes back from raw text."""
    path, final = runs(tuning)
    test = [json.loads(line) for line in (topics / "test.jsonl").read_text().splitlines()]
    tags = open_student(path.parent / "run").predict([document["text"] for document in test], 3)
    names = list(TOPICS)
    right = [tag.labels[0] == names[d["labels"][0]] for tag, d in zip(tags, test, strict=True)]
    assert np.mean(right) == pytest.approx(final["student"]["accuracy"], abs=0.02)
    assert all(sum(tag.scores) == pytest.approx(1, abs=1e-4) for tag in tags)
    assert all(list(tag.scores) == sorted(tag.scores, reverse=True) for tag in tags)


def test_backbones_read_training_and_test_texts_in_one_pass(
    topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, recipe_keys(topics, minilm1, "frozen"))
    fit(load_recipe(str(path), ["training.epochs=1"]).recipe, Console())
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("features")]
    assert len(said) == 2
    assert said[0].startswith("features mean: 1")
    assert said[1] == "features mean: all 60 texts from the store"


def test_adapters_train_a_fraction_of_the_weights(runs: Any) -> None:
    trained = {tuning: runs(tuning)[1]["stages"][0]["parameters"] for tuning in ("full", "lora", "frozen")}
    assert trained["lora"] < trained["full"] / 50
    assert trained["frozen"] == (3 * 384 + 1) * 3


def test_a_finished_run_is_not_done_again(runs: Any) -> None:
    path, final = runs("frozen")
    before = (path.parent / "run" / "metrics.jsonl").read_bytes()
    assert run(path, resume=True) == final
    assert (path.parent / "run" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(RunError, match="a run here already"):
        run(path)
    with pytest.raises(RunError, match=r"training\.lr was"):
        run(path, "training.lr=0.5", resume=True)


def test_a_run_killed_before_its_end_goes_on_without_training_again(
    topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, recipe_keys(topics, minilm1, "frozen"))

    def die(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmteach.curriculum.classifying.evaluate_classifier", die)
        with pytest.raises(KeyboardInterrupt):
            run(path)
    head = (tmp_path / "run" / "student" / "head.safetensors").read_bytes()
    monkeypatch.setattr("lmteach.curriculum.class_training.train_classifier", die)
    final = run(path, resume=True)
    assert final["student"]["accuracy"] > 0.9
    assert final["stages"][0]["steps"] > 0
    assert (tmp_path / "run" / "student" / "head.safetensors").read_bytes() == head


def test_the_same_seed_is_the_same_head_and_another_is_not(
    topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path
) -> None:
    heads = []
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        path = write(tmp_path, recipe_keys(topics, minilm1, "frozen"))
        run(path, f"run.folder={tmp_path}/{name}", f"seed={seed}", "training.epochs=2")
        heads.append((tmp_path / name / "student" / "head.safetensors").read_bytes())
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


def test_test_gold_is_sealed_until_training_is_over(
    topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmteach.corpus.load import load_corpus as real

    corpora = []

    def load(*args: Any) -> Any:
        corpora.append(real(*args))
        return corpora[-1]

    def look(*args: Any, **keys: Any) -> Any:
        with pytest.raises(RunError, match="before training was over"):
            _ = corpora[-1].test.gold
        raise KeyboardInterrupt

    monkeypatch.setattr("lmteach.corpus.load.load_corpus", load)
    monkeypatch.setattr("lmteach.curriculum.class_training.train_classifier", look)
    with pytest.raises(KeyboardInterrupt):
        run(write(tmp_path, recipe_keys(topics, minilm1, "frozen")))
    assert corpora


def test_without_validation_every_epoch_is_trained(
    topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path
) -> None:
    path = write(tmp_path, recipe_keys(topics, minilm1, "frozen"))
    (stage,) = run(path, "training.validation=0", "training.epochs=3")["stages"]
    assert (stage["documents"], stage["epochs"], "best_epoch" in stage) == (90, 3, False)


def test_patience_stops_and_the_best_epoch_is_kept(minilm1: Path, tmp_path: Path, own_cache: Path) -> None:
    """With labels that mean nothing, every epoch behind the first ones makes validation worse."""
    topics = write_topics(tmp_path / "topics")
    lines = [json.loads(line) for line in (topics / "train.jsonl").read_text().splitlines()]
    rng = random.Random(0)
    spoilt = [json.dumps({**line, "labels": [rng.randrange(3)]}) for line in lines]
    (topics / "train.jsonl").write_text("\n".join(spoilt) + "\n")
    path = write(tmp_path, recipe_keys(topics, minilm1, "frozen"))
    (stage,) = run(path, "training.patience=2", "training.epochs=200")["stages"]
    assert stage["epochs"] == stage["best_epoch"] + 1 + 2 < 200
    assert validation_loss(path) == pytest.approx(stage["validation_loss"], rel=1e-4)


def test_it_learns_by_the_recipes_loss(topics: Path, minilm1: Path, tmp_path: Path, own_cache: Path) -> None:
    keys = recipe_keys(topics, minilm1, "frozen") | {"loss": {"name": "gce", "q": 1.0}}
    path = write(tmp_path, keys)
    (stage,) = run(path, "training.epochs=1", "training.lr=1e-4")["stages"]
    assert stage["validation_loss"] > 0.2, "where all is right, the losses are alike"
    assert validation_loss(path) == pytest.approx(stage["validation_loss"], rel=1e-4)


def validation_loss(path: Path) -> float:
    """Return the kept student's loss on the texts that its epoch was chosen by, worked out anew."""
    recipe = load_recipe(str(path)).recipe
    context = open_context(recipe, Console(quiet=True))
    _, apart = gold_texts(context, np.arange(len(context.corpus.train))).split(0.2, recipe.seed)
    student = reopen_student(path.parent / "run" / "student", recipe)
    inputs = student.read(apart.texts, Console(quiet=True))
    logits = torch.from_numpy(logits_of(student, inputs, device="cpu", precision="fp32"))
    targets = torch.from_numpy(apart.targets_nC)
    if recipe.loss["name"] == "gce":
        return float((1 - (logits.softmax(1) * targets).sum(1) ** recipe.loss["q"]).mean() / recipe.loss["q"])
    return torch.nn.functional.cross_entropy(logits, targets).item()


def test_several_classes_a_document(desks: Path, minilm1: Path, tmp_path: Path, own_cache: Path) -> None:
    keys = recipe_keys(desks, minilm1, "frozen")
    path = write(tmp_path, keys)
    with pytest.raises(CorpusError, match=r"other than one class .* 2\)") as error:
        run(path)
    assert "student.multilabel=true" in str(error.value)
    final = run(path, "student.multilabel=true", "training.epochs=60", f"run.folder={tmp_path}/multi")
    assert final["student"]["p@1"] > 0.8
    assert final["student"]["micro_f1"] > 0.6
    assert set(final["intervals"]["student"]) >= {"p@1", "micro_f1", "ndcg@5"}
    (tag,) = open_student(tmp_path / "multi").predict(
        ["A note on guitar, melody, piano, judge, court, trial."], 2
    )
    assert set(tag.labels) == {"desk felix", "desk greta"}


def test_predict_leaves_a_backbone_out_and_evaluate_measures_again(
    runs: Any, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path, final = runs("frozen")
    folder = path.parent / "run"
    (tmp_path / "in.jsonl").write_text('{"id": 7, "text": "guitar melody judge violin"}\n')
    answers = []
    for words in ((), ("backbones=mean",), ("backbones=mean,first",)):
        status, out, err = call("predict", folder, tmp_path / "in.jsonl", "--top-k", 1, *words)
        assert status == 0, err
        answers.append(json.loads(out))
    assert [answer["labels"] for answer in answers] == [["music"]] * 3
    assert answers[0] == answers[2] != answers[1]
    status, _, err = call("predict", folder, tmp_path / "in.jsonl", "backbones=men")
    assert status == 1
    assert "no backbone 'men'" in err
    status, _, err = call("predict", folder, tmp_path / "in.jsonl", "top_k=2")
    assert (status, "no key 'top_k'" in err) == (1, True)
    status, out, err = call("evaluate", folder, "--quiet")
    assert status == 0, err
    assert f"{final['student']['accuracy']:.4f}" in out


def test_a_tuned_student_has_no_backbones_to_leave_out(
    runs: Any, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 7, "text": "guitar"}\n')
    status, _, err = call("predict", runs("full")[0].parent / "run", tmp_path / "in.jsonl", "backbones=a")
    assert status == 1
    assert "no frozen backbones" in err


def test_no_backbones_is_said_before_anything_is_loaded(topics: Path, minilm1: Path, tmp_path: Path) -> None:
    keys = recipe_keys(topics, minilm1, "frozen")
    del keys["student"]["backbones"]
    with pytest.raises(RecipeError, match=r"needs student\.backbones"):
        run(write(tmp_path, keys))
    assert not (tmp_path / "run").exists()
