"""A run over texts that try to be HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

HOSTILE = '</p></main><script>alert("pwned")</script><img src=x onerror=alert(1)>&amp;"\'\x07 {{7*7}}'


@pytest.fixture(scope="module")
def hostile_run(
    desks: Path, desk_recipe: Mapping[str, Any], cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run whose texts, titles, ids, label names and own name are hostile."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    folder = tmp_path_factory.mktemp("hostile")
    for split in ("train", "test"):
        lines = []
        for line in (desks / f"{split}.jsonl").read_text().splitlines()[:60]:
            note = json.loads(line)
            note |= {name: f"{note[name]} {HOSTILE}" for name in ("id", "title", "text")}
            lines.append(json.dumps(note))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    names = (desks / "labels.txt").read_text().splitlines()
    (folder / "labels.txt").write_text("".join(f"{name} <b onclick=x>{HOSTILE[:40]}\n" for name in names))
    run = {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")}
    changed = {
        "name": f"run {HOSTILE[:60]}",
        "corpus": {"path": str(folder), "n_dev": 10},
        "training": {**desk_recipe["training"], "epochs": 1},
        "run": run,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**desk_recipe, **changed}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(folder / "recipe.yaml")).recipe, Console(quiet=True))
    return folder / "run"


@pytest.fixture(scope="module")
def classifier_run(
    desk_recipe: Mapping[str, Any],
    minilm1: Path,
    cache_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run of a classifier with several classes a document."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    folder = tmp_path_factory.mktemp("classifier")
    recipe = {
        "name": "classes",
        "corpus": {**desk_recipe["corpus"], "n_dev": 0},
        "supervision": "gold",
        "paper": {"gold": 94.74, "teacher": 93.53},
        "student": {
            "kind": "classifier",
            "tuning": "full",
            "multilabel": True,
            "encoder": {"model": str(minilm1), "document_length": 24},
        },
        "training": {"batch_size": 8, "lr": 1e-3, "warmup_steps": 0, "epochs": 2, "precision": "fp32"},
        "evaluation": {"resamples": 50, "ks": [1, 3]},
        "run": {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(folder / "recipe.yaml")).recipe, Console(quiet=True))
    return folder / "run"
