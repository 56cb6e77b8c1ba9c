"""The frozen student: normalisation, backbones left out, saved and opened again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.errors import RecipeError, RunError
from lmteach.recipe.schema import BackboneSection, FusionSection
from lmteach.students.class_student import ClassCard, logits_of
from lmteach.students.frozen import FrozenStudent, FusedBody, drop_backbones
from lmteach.students.fusions import Concat
from lmteach.students.open_classifier import open_classifier
from lmteach.tracking.console import Console

SHAPES = {"a": (2, 3), "b": (1, 4)}


def body(**keys: Any) -> FusedBody:
    torch.manual_seed(0)
    fusion = Concat(SHAPES, width=None)
    return FusedBody(fusion, torch.nn.Linear(fusion.out_dim, 3), SHAPES, **keys)


def inputs(n: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(n, *shape, generator=generator) * 7 + 3 for name, shape in SHAPES.items()}


@dataclasses.dataclass
class Fixed:
    """Inputs that are in memory."""

    vectors: dict[str, torch.Tensor]

    def collate(self, positions: Any) -> dict[str, torch.Tensor]:
        return {name: x[list(positions)] for name, x in self.vectors.items()}


def test_standard_features_have_mean_0_and_deviation_1_over_the_first_n_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lmteach.students.frozen.STATISTICS_BATCH", 7)
    made, given_ = body(normalise="standard"), inputs(50)
    given_["a"][:, 0, 1] = 5.0  # a dimension that tells nothing
    made.set_statistics(Fixed(given_), 40)  # type: ignore[arg-type]
    scaled = made._normalised(0, given_["a"])[:40]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2, 3), atol=1e-4, rtol=0)
    deviation = scaled.std(0, unbiased=False)
    assert deviation[0, 1] < 1e-3
    deviation[0, 1] = 1
    torch.testing.assert_close(deviation, torch.ones(2, 3), atol=1e-4, rtol=0)


def test_an_absent_backbone_is_as_one_that_is_dropped() -> None:
    made, given_ = body().eval(), inputs()
    present = torch.tensor([True, False]).expand(6, -1)
    expected = made.head(made.fusion(given_, present))
    torch.testing.assert_close(made({"a": given_["a"]}), expected)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1, max_size=20),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
)
def test_a_text_never_loses_all_of_its_backbones(present: list[list[bool]], rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    before = torch.tensor(present)
    after = drop_backbones(before, rate)
    assert after.any(1).all()
    assert not (after & ~before).any()


def test_backbones_are_dropped_as_often_as_asked() -> None:
    torch.manual_seed(0)
    kept = drop_backbones(torch.ones(20_000, 3, dtype=torch.bool), 0.3)
    assert kept.float().mean().item() == pytest.approx(0.7 + 0.3**3 / 3, abs=0.01)  # the rescued ones on top


def card(tiny_llama: Path, minilm1: Path, **fusion: Any) -> ClassCard:
    backbones = [
        BackboneSection(str(tiny_llama), "llama", [-1, -2], max_tokens=16, precision="fp32"),
        BackboneSection(str(minilm1), "minilm", pooling="first", max_tokens=16, precision="fp32"),
    ]
    features = {
        "backbones": [dataclasses.asdict(b) for b in backbones],
        "fusion": dataclasses.asdict(FusionSection(**{"name": "mean", "width": 8, **fusion})),
        "head": {"name": "linear"},
    }
    return ClassCard(("x", "y", "z"), False, "frozen", 0, features)


def logits(student: FrozenStudent, texts: list[str]) -> np.ndarray:
    return logits_of(student, student.read(texts, Console(quiet=True)), device="cpu", precision="fp32")


@pytest.fixture
def saved(tiny_llama: Path, minilm1: Path, tmp_path: Path, own_cache: Path) -> FrozenStudent:
    torch.manual_seed(3)
    student = FrozenStudent(
        card(tiny_llama, minilm1, normalise="standard", backbone_dropout=0.3), store=None, device="cpu"
    )
    student.prepare(student.read(["one text", "and one more", "a third"], Console(quiet=True)), 3)
    student.save(tmp_path / "student")
    return student


def test_a_saved_student_opens_as_it_was(saved: FrozenStudent, sentences: list[str], tmp_path: Path) -> None:
    opened = FrozenStudent.open(
        tmp_path / "student", ClassCard.load(tmp_path / "student"), store=None, device="cpu"
    )
    np.testing.assert_allclose(logits(opened, sentences), logits(saved, sentences), rtol=1e-5)
    classifier = open_classifier(tmp_path / "student", precision="fp32")
    tags = classifier.predict(sentences, 2)
    p_nC = torch.from_numpy(logits(saved, sentences)).softmax(1)
    for tag, p_C in zip(tags, p_nC, strict=True):
        ids = p_C.argsort(descending=True)[:2].tolist()
        assert tag.labels == tuple("xyz"[i] for i in ids)
        assert tag.scores == pytest.approx([p_C[i].item() for i in ids], abs=1e-5)
    size = sum(file.stat().st_size for file in (tmp_path / "student").iterdir())
    assert size < 6_000_000, "the backbones themselves stay where they are"


def test_a_student_saved_with_keys_that_its_head_has_lost_opens(
    saved: FrozenStudent, sentences: list[str], tmp_path: Path
) -> None:
    """Cards of earlier versions hold the keys of all heads."""
    card = ClassCard.load(tmp_path / "student")
    assert card.features is not None
    head = {**card.features["head"], "hidden": [1024, 256], "dropout": 0.5, "double_softmax": False}
    dataclasses.replace(card, features={**card.features, "head": head}).save(tmp_path / "student")
    opened = FrozenStudent.open(
        tmp_path / "student", ClassCard.load(tmp_path / "student"), store=None, device="cpu"
    )
    np.testing.assert_allclose(logits(opened, sentences), logits(saved, sentences), rtol=1e-5)


def test_the_state_keeps_its_names(saved: FrozenStudent) -> None:
    """What a saved student is opened by: buffers by place, projections by vector, the head's own."""
    assert set(saved.body.state_dict()) == {
        *(f"{name}_{i}" for name in ("shift", "scale") for i in (0, 1)),
        *(f"fusion.projections.{i}.0.{part}" for i in range(3) for part in ("weight", "bias")),
        "head.weight",
        "head.bias",
    }


def test_backbones_left_out_change_the_answer_and_are_not_read(
    saved: FrozenStudent, sentences: list[str]
) -> None:
    both = logits(saved, sentences)
    saved.use(["minilm"])
    inputs_ = saved.read(sentences, Console(quiet=True))
    assert list(inputs_.located) == ["minilm"]
    alone = logits_of(saved, inputs_, device="cpu", precision="fp32")
    assert np.isfinite(alone).all()
    assert not np.allclose(alone, both)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["minlm"], "Did you mean 'minilm'"), ([], "At least one"), (["llama", "q"], "no backbone 'q'")],
)
def test_backbones_that_cannot_be_used(saved: FrozenStudent, names: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        saved.use(names)


def test_a_head_that_never_missed_a_backbone_wants_them_all(tiny_llama: Path, minilm1: Path) -> None:
    student = FrozenStudent(card(tiny_llama, minilm1), store=None, device="cpu")
    with pytest.raises(RecipeError, match="backbone_dropout above 0"):
        student.use(["llama"])
    student.use(["llama", "minilm"])


def test_other_weights_than_those_trained_on_are_refused(saved: FrozenStudent, tmp_path: Path) -> None:
    path = tmp_path / "student" / "lmteach.json"
    said = json.loads(path.read_text())
    said["features"]["fingerprints"]["minilm"] = "0123456789abcdef"
    path.write_text(json.dumps(said))
    with pytest.raises(RunError, match="not those this head was trained on"):
        open_classifier(tmp_path / "student")


@pytest.mark.parametrize("damage", ["head.safetensors", "lmteach.json"])
def test_a_damaged_student_is_one_clear_error(saved: FrozenStudent, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "student" / damage
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(RunError, match="read"):
        open_classifier(tmp_path / "student")
