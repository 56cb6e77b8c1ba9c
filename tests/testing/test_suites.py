"""Built-in searchers, encoders, curricula, heads and losses keep their contracts; and each suite finds faults."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from lmteach import registry
from lmteach.curriculum.protocol import Curriculum
from lmteach.search.protocol import Searcher
from lmteach.students.protocol import Encoder
from lmteach.testing import CurriculumContract, EncoderContract, SearcherContract


class TestExact(SearcherContract):
    least_recall = 1.0
    name = "exact"

    def build(self, **keys: Any) -> Searcher:
        searcher: Searcher = registry.build("searcher", {"name": self.name, **keys})
        return searcher


@pytest.mark.skipif(find_spec("scann") is None, reason="scann has no wheels here")
class TestScann(TestExact):
    least_recall = 0.92
    name = "scann"


class TestAuto(TestExact):
    name = "auto"


class TestTransformersEncoder(EncoderContract):
    keys: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _model(self, minilm1: Path) -> None:
        type(self).keys = {"model": str(minilm1), "document_length": 40, "search_length": 60}

    def config(self) -> type[Any]:
        config: type[Any] = registry.load("encoder", "transformers").Config
        return config

    def build(self, **keys: Any) -> Encoder:
        encoder: Encoder = registry.build("encoder", {"name": "transformers", **self.keys, **keys})
        return encoder


class TestLmtx(CurriculumContract):
    name = "lmtx"
    keys: ClassVar[dict[str, Any]] = {"n_documents": 20}

    def build(self, **keys: Any) -> Curriculum:
        curriculum: Curriculum = registry.build("curriculum", {"name": self.name, **self.keys, **keys})
        return curriculum


class TestLmtxFresh(TestLmtx):
    keys: ClassVar[dict[str, Any]] = {"n_documents": 20, "fresh": True, "patience": 2}


class TestOnce(TestLmtx):
    name = "once"


class TestRandom(TestLmtx):
    name = "random"
    keys: ClassVar[dict[str, Any]] = {"n_documents": 20, "cycles": 3}


class TestUncertainty(TestRandom):
    name = "uncertainty"


class TestCoverage(TestRandom):
    name = "coverage"


class TestMixed(TestRandom):
    name = "mixed"


def test_every_announced_plugin_has_a_suite() -> None:
    """Those of teachers are asserted in tests/plugins/test_contracts.py."""
    announced = {
        kind: {entry.name for entry in registry.entries(kind) if entry.distribution == "lmteach"}
        for kind in registry.KINDS
        if kind != "teacher"
    }
    assert announced == {
        "head": {"linear", "mlp"},
        "loss": {"ce", "gce", "sce", "triplet", "weighted_triplet"},
        "searcher": {"exact", "scann", "auto"},
        "encoder": {"transformers"},
        "curriculum": {"lmtx", "once", "random", "uncertainty", "coverage", "mixed"},
    }


def failures(suite: type[Any]) -> list[str]:
    """Return the names of the suite's tests that fail."""
    failed = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite(), name)()
            except Exception:
                failed.append(name)
    return failed


def _worst_first(found: Any) -> Any:
    return found[0][:, ::-1], found[1][:, ::-1]


def _phantom(found: Any) -> Any:
    ids, scores = found[0].copy(), found[1].copy()
    ids[:, -1:] = 0
    return ids, scores


SEARCH_FAULTS: dict[str, Callable[[Any], Any]] = {
    "none": lambda found: found,
    "order": _worst_first,
    "phantom": _phantom,
    "int32": lambda found: (found[0].astype(np.int32), found[1]),
    "float64": lambda found: (found[0], found[1].astype(np.float64)),
    "short": lambda found: (found[0][:, :-1], found[1][:, :-1]),
    "scaled": lambda found: (found[0], found[1] * np.float32(0.5)),
    "nan": lambda found: (found[0], np.where(found[0] == 3, np.float32(np.nan), found[1])),
}


@pytest.mark.parametrize("fault", SEARCH_FAULTS)
def test_the_suite_of_searchers_finds_faults(fault: str) -> None:
    exact = registry.load("searcher", "exact")

    class Faulty(exact):  # type: ignore[misc, valid-type]
        def search(self, queries_qD: Any, k: int) -> Any:
            return SEARCH_FAULTS[fault](super().search(queries_qD, k))

    class Suite(SearcherContract):
        def build(self, **keys: Any) -> Searcher:
            searcher: Searcher = Faulty(exact.Config(**keys))
            return searcher

    assert bool(failures(Suite)) == (fault != "none")


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        ("none", None),
        ("length", "test_vectors_are_normalised"),
        ("neighbours", "test_a_vector_depends_on_its_text_alone"),
        ("constant", "test_texts_are_told_apart"),
        ("frozen", "test_every_trainable_weight_gets_a_gradient"),
        ("unsaved", "test_a_saved_encoder_comes_back_the_same"),
        ("empty", "test_no_texts_no_tokens"),
        ("bf16", "test_the_forward_gives_fp32"),
    ],
)
def test_the_suite_of_encoders_finds_faults(fault: str, caught_by: str | None, minilm1: Path) -> None:
    import torch

    from lmteach.students.pooled_encoder import PooledEncoder

    class Faulty(PooledEncoder):
        def tokenize(self, texts: Any, kind: Any) -> Any:
            if fault == "empty" and not texts:
                raise IndexError("no texts")
            return super().tokenize(texts, kind)

        def forward(self, batch: Any) -> Any:
            vectors = super().forward(batch)
            if fault == "length":
                return vectors * 2
            if fault == "neighbours":
                vectors = torch.nn.functional.normalize(vectors + vectors.mean(0), dim=-1)
            if fault == "constant":
                vectors = torch.nn.functional.normalize(vectors * 0 + 1, dim=-1)
            return vectors.bfloat16() if fault == "bf16" else vectors

        def save(self, folder: Path) -> None:
            if fault == "unsaved":
                torch.manual_seed(2)
                weight = self.model.get_input_embeddings().weight
                with torch.no_grad():
                    weight.add_(0.1 * torch.randn_like(weight))
            super().save(folder)

    class Suite(TestTransformersEncoder):
        def build(self, **keys: Any) -> Any:
            lengths = {"document": 40, "search": 40, "label": 8}
            encoder = Faulty(str(keys.get("model", minilm1)), lengths=lengths)
            if fault == "frozen":
                encoder.unused = torch.nn.Parameter(torch.zeros(3))
            return encoder

    failed = failures(Suite)
    assert failed == [] if caught_by is None else caught_by in failed


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        ("none", None),
        ("twice", "test_it_selects_documents_that_there_are"),
        ("beyond", "test_it_selects_documents_that_there_are"),
        ("mood", "test_a_selection_depends_on_its_state_alone"),
        ("forever", "test_it_ends"),
        ("memory", "test_going_on_depends_on_the_history_alone"),
    ],
)
def test_the_suite_of_curricula_finds_faults(fault: str, caught_by: str | None) -> None:
    lmtx = registry.load("curriculum", "lmtx")

    class Faulty(lmtx):  # type: ignore[misc, valid-type]
        calls = 0

        def select(self, state: Any) -> Any:
            chosen = super().select(state)
            self.calls += 1
            if fault == "twice":
                return np.repeat(chosen, 2)
            if fault == "beyond":
                return chosen + 1
            return chosen[: 1 + self.calls % 2] if fault == "mood" else chosen

        def keep_going(self, history: Any) -> bool:
            self.calls += 1
            if fault == "forever":
                return True
            return self.calls < 3 if fault == "memory" else super().keep_going(history)

    class Suite(CurriculumContract):
        def build(self, **keys: Any) -> Curriculum:
            curriculum: Curriculum = Faulty(lmtx.Config(n_documents=20, **keys))
            return curriculum

    failed = failures(Suite)
    assert failed == [] if caught_by is None else caught_by in failed
