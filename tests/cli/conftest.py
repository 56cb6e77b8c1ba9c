"""A teacher whose answers are kept and whose questions are written down, and recipes that name it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

NOTING = '''
import json
from dataclasses import dataclass
from pathlib import Path

from lmteach.teaching.chance import chance
from lmteach.types import Usage, Verdict


class NotingTeacher:
    """Says what gold says, wrong at a set rate; scores spread; kept in the store, unlike the oracle's."""

    @dataclass
    class Config:
        noise: float = 0.1
        prompt: str = "about"
        model: str = ""
        log: str = ""

    scope = "pair"

    def __init__(self, config, resources):
        self.config, self.corpus = config, resources.corpus

    @property
    def identity(self):
        return f"noting noise={self.config.noise:g} prompt={self.config.prompt}"

    def judge(self, batch):
        if self.config.log:
            with Path(self.config.log).open("a") as file:
                file.writelines(json.dumps([j.document_id, list(j.candidates)]) + "\\n" for j in batch)
        return [Verdict(tuple(map(self._score, [j] * len(j.candidates), j.candidates, j.label_ids)),
                        usage=Usage(7 * len(j.candidates))) for j in batch]

    def _score(self, judgement, candidate, label_id):
        gold = self._gold()[judgement.document_id]
        flip = chance(1, self.identity, judgement.document, candidate) < self.config.noise
        size = 1 + chance(2, self.identity, judgement.document, candidate)
        return size if (label_id in gold) != flip else -size

    def _gold(self):
        if not hasattr(self, "_by_id"):
            views = [v for v in (self.corpus.train, self.corpus.dev) if v is not None]
            self._by_id = {}
            for view in views:
                gold = view.gold_for_oracle()
                self._by_id.update((id_, set(gold.of(i).tolist())) for i, id_ in enumerate(view.ids))
        return self._by_id

    def close(self):
        pass
'''


@dataclass(frozen=True)
class Bench:
    """A recipe with the noting teacher, in a folder of its own."""

    folder: Path
    recipe: Path

    @property
    def store(self) -> Path:
        return self.folder / "store.sqlite"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def asked(self) -> list[tuple[str, str]]:
        """The pairs that the teacher was asked about, in order."""
        log = self.folder / "asked.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        return [(document, c) for document, candidates in map(json.loads, lines) for c in candidates]


@pytest.fixture(scope="session")
def noting(tmp_path_factory: pytest.TempPathFactory) -> str:
    """How a recipe names the noting teacher."""
    path = tmp_path_factory.mktemp("teachers") / "noting.py"
    path.write_text(NOTING)
    return f"{path}:NotingTeacher"


def make_bench(folder: Path, recipe: Mapping[str, Any], noting: str, **teacher: object) -> Bench:
    """Write a recipe that is judged by the noting teacher at top 5 of 12, dev at top 2."""
    changed = {
        **recipe,
        "teacher": {"name": noting, "log": str(folder / "asked.jsonl"), **teacher},
        "search": {**recipe["search"], "n_judged": 5},
        "dev": {"n_judged": 2},
        "run": {"folder": str(folder / "run"), "store": str(folder / "store.sqlite")},
    }
    path = folder / "noted.yaml"
    path.write_text(yaml.safe_dump(changed))
    return Bench(folder, path)


@pytest.fixture
def bench(desk_recipe: Mapping[str, Any], noting: str, tmp_path: Path) -> Bench:
    """A bench that nothing has been done on."""
    return make_bench(tmp_path, desk_recipe, noting)


@pytest.fixture(scope="session")
def taught(
    desk_recipe: Mapping[str, Any], noting: str, tmp_path_factory: pytest.TempPathFactory, cache_folder: Path
) -> Bench:
    """A bench on which a run of one cycle is finished. Look, do not touch."""
    from lmteach.curriculum.cycles import fit
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    bench = make_bench(tmp_path_factory.mktemp("taught"), desk_recipe, noting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        fit(load_recipe(str(bench.recipe)).recipe, Console(quiet=True))
    return bench
