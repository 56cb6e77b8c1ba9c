"""Film reviews of made-up words, a teacher who can read them, and a recipe that brings both together."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmteach.curriculum.context import RunContext, open_context
from lmteach.recipe.load import load_recipe
from lmteach.teaching.store import Store
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import RunFolder

# Kept in the store, asked in words: says what the words say, leans to "good", and abstains from short texts.
LEANING = """
import math
from dataclasses import dataclass
from pathlib import Path
from lmteach.types import Usage, Verdict

class LeaningTeacher:
    @dataclass
    class Config:
        prompt: str = "a"
        lean: float = 0.0
        log: str = ""
        good: str = ""

    scope = "list"

    def __init__(self, config, resources):
        self.config = config

    @property
    def identity(self):
        return f"leaning {self.config.lean} {self.config.prompt}"

    def judge(self, batch):
        if self.config.log:
            with Path(self.config.log).open("a") as file:
                file.writelines("|".join(j.described) + "\\n" for j in batch)
        return [self._one(j) for j in batch]

    def _one(self, j):
        if "unreadable" in j.document:
            return Verdict((None,) * len(j.candidates))
        good = set(self.config.good.split())
        shown = sum(word in good for word in j.document.split()) / max(1, len(j.document.split()))
        odds = 4 * (shown - 0.5) + self.config.lean if j.document.split()[0] != "N/A" else self.config.lean
        p = 1 / (1 + math.exp(-odds))
        return Verdict((math.log(1 - p), math.log(p)), usage=Usage(9))

    def close(self):
        pass
"""


@pytest.fixture(scope="session")
def films(film_words: tuple[list[str], list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 60, 20 and 30 reviews; the last ones without gold."""
    folder, rng = tmp_path_factory.mktemp("films"), random.Random(3)
    for split, n in (("train", 60), ("test", 20), ("extra", 30)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for i in range(n):
                label = i % 2
                own, other = film_words[1 - label], film_words[label]
                words = rng.sample(own, 5) + rng.sample(other, 2)
                rng.shuffle(words)
                row: dict[str, Any] = {"id": f"{split}{i}", "text": " ".join(words)}
                if split != "extra":
                    row["labels"] = [label]
                file.write(json.dumps(row) + "\n")
    (folder / "labels.txt").write_text("negative\npositive\n")
    return folder


@pytest.fixture
def start(
    films: Path, film_words: tuple[list[str], list[str]], minilm1: Path, own_cache: Path, tmp_path: Path
) -> Callable[..., tuple[RunContext, RunFolder]]:
    """Return a function that opens a recipe with these overrides, and its run's folder."""
    (tmp_path / "leaning.py").write_text(LEANING)
    recipe = {
        "extends": "base/llambert.yaml",
        "name": "films",
        "corpus": {"path": str(films)},
        "teacher": {"name": f"{tmp_path}/leaning.py:LeaningTeacher", "good": " ".join(film_words[0])},
        "student": {"encoder": {"model": str(minilm1), "document_length": 24, "search_length": 24}},
        "run": {"store": str(tmp_path / "store.sqlite"), "folder": str(tmp_path / "run")},
    }
    films_recipe = tmp_path / "films.yaml"
    films_recipe.write_text(json.dumps(recipe))

    def open_(*overrides: str) -> tuple[RunContext, RunFolder]:
        loaded = load_recipe(str(films_recipe), list(overrides)).recipe
        store = Store.open(loaded.run.store, run="films")
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir(exist_ok=True)
        return open_context(loaded, Console(quiet=True), store=store), folder

    return open_
