"""sweep-layers: one pass, a table, and features that fit finds again."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Call = Callable[..., tuple[int, str, str]]
WORDS = {
    "sea": "yacht mast anchor harbour tide rudder",
    "law": "court judge contract plaintiff verdict statute",
}


@pytest.fixture
def recipe(minilm1: Path, tmp_path: Path) -> Path:
    rng = random.Random(0)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for split, n in (("train", 60), ("test", 30)):
        lines = []
        for _ in range(n):
            label = rng.randrange(2)
            text = " ".join(rng.sample(list(WORDS.values())[label].split(), 3))
            lines.append(json.dumps({"text": f"{len(lines)} {text}", "labels": [label]}))
        (corpus / f"{split}.jsonl").write_text("\n".join(lines))
    (corpus / "labels.txt").write_text("\n".join(WORDS))
    backbone = {"model": str(minilm1), "name": "mini", "max_tokens": 12, "precision": "fp32"}
    keys: dict[str, Any] = {
        "name": "sweep",
        "corpus": {"path": str(corpus), "n_dev": 0},
        "student": {
            "kind": "classifier",
            "tuning": "frozen",
            "backbones": [backbone, {**backbone, "name": "cls", "pooling": "first"}],
        },
        "training": {"validation": 0.25, "epochs": 20, "lr": 0.01, "warmup_steps": 0, "drop_last": False},
        "run": {"folder": str(tmp_path / "run"), "features": str(tmp_path / "features")},
        "evaluation": {"resamples": 50},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(keys))
    return tmp_path / "recipe.yaml"


def rows(out: str) -> list[list[float]]:
    """Return the numbers of each table row: layer, then accuracies with their bounds."""
    lines = [line for line in out.splitlines() if re.match(r"\s+\d+ ", line)]
    return [[float(n) for n in re.findall(r"\d+\.?\d*", line)] for line in lines]


def test_every_layer_of_one_backbone(call: Call, recipe: Path) -> None:
    status, out, err = call("sweep-layers", "--recipe", recipe, "--backbone", "mini")
    assert status == 0, err
    found = rows(out)
    assert [row[0] for row in found] == [0, 1]
    assert all(row[1] > 0.8 for row in found)
    assert out.count("(best)") == 1
    assert "cls" not in out
    assert not (recipe.parent / "run").exists(), "no run was begun"


def test_all_backbones_and_test_gold_on_request(call: Call, recipe: Path) -> None:
    status, out, err = call("sweep-layers", "--recipe", recipe, "--test")
    assert status == 0, err
    assert out.count("test accuracy") == 2
    found = rows(out)
    assert all(len(row) == 7 for row in found)
    assert [row[4] > 0.8 for row in found] == [True, True, False, True], (
        "the first token's embedding is the same"
    )
    status, _, err = call("fit", "--recipe", recipe)
    assert status == 0, err
    assert "features mini: all 90 texts from the store" in err, "training and test texts"
    assert "features mini: all 30 texts from the store" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backbone", "min"), "Did you mean 'mini'"),
        (("training.validation=0",), "Set training.validation=0.1"),
        (("student.tuning=full", "student.backbones=[]"), "Only a recipe with frozen backbones"),
    ],
)
def test_what_cannot_be_swept(call: Call, recipe: Path, words: tuple[str, ...], said: str) -> None:
    status, _, err = call("sweep-layers", "--recipe", recipe, *words)
    assert status == 1
    assert said in err
