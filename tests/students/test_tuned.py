"""Tuned classifiers: transformers loads what they save; adapters train alone and are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmteach.errors import RecipeError, RunError, TeacherError
from lmteach.recipe.schema import LoraSection
from lmteach.students.class_student import ClassCard, logits_of
from lmteach.students.open_classifier import open_classifier
from lmteach.students.tuned import TunedStudent
from lmteach.tracking.console import Console

CARD = ClassCard(("oil", "wheat", "ships"), False, "full", 16)


def student(folder: Path, card: ClassCard = CARD, **keys: Any) -> TunedStudent:
    torch.manual_seed(0)
    return TunedStudent(folder, card, **keys)


def logits(made: TunedStudent, texts: list[str]) -> np.ndarray:
    return logits_of(made, made.read(texts, Console(quiet=True)), device="cpu", precision="fp32")


def nudge(made: TunedStudent) -> None:
    """Move every weight that may be trained, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.body.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("multilabel", [False, True])
def test_transformers_loads_what_is_saved(
    minilm1: Path, sentences: list[str], tmp_path: Path, multilabel: bool
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = student(minilm1, ClassCard(CARD.labels, multilabel, "full", 16))
    nudge(made)
    made.save(tmp_path / "student")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert theirs.config.id2label == {0: "oil", 1: "wheat", 2: "ships"}
    kind = "multi_label_classification" if multilabel else "single_label_classification"
    assert theirs.config.problem_type == kind
    batch = tokenizer(sentences, truncation=True, max_length=16, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**batch).logits.numpy()
    np.testing.assert_allclose(logits(made, sentences), expected, atol=1e-5)
    classifier = open_classifier(tmp_path / "student", precision="fp32")
    wide = torch.from_numpy(expected)
    p_nC = (wide.sigmoid() if multilabel else wide.softmax(1)).numpy()
    np.testing.assert_allclose(classifier.probabilities(sentences), p_nC, atol=1e-5)
    assert classifier.predict([], 3) == []
    assert classifier.predict(sentences[:1], 9)[0].scores == pytest.approx(sorted(p_nC[0])[::-1], abs=1e-5)


@pytest.mark.parametrize("model", ["minilm1", "tiny_llama"])
def test_adapters_train_alone_and_are_merged_when_saved(
    model: str, sentences: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = student(request.getfixturevalue(model), lora=LoraSection(rank=4))
    trained = {name for name, p in made.body.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    total = sum(p.numel() for p in made.body.parameters())
    assert 0 < sum(p.numel() for p in made.body.parameters() if p.requires_grad) < 0.05 * total
    nudge(made)
    expected = logits(made, sentences)
    made.save(tmp_path / "student")
    again = TunedStudent(tmp_path / "student", CARD)
    np.testing.assert_allclose(logits(again, sentences), expected, atol=1e-4)
    np.testing.assert_allclose(logits(made, sentences), expected, atol=1e-6, err_msg="saving changed it")
    assert {name for name, p in made.body.named_parameters() if p.requires_grad} == trained, "it can train on"
    assert (tmp_path / "student" / "adapter" / "adapter_config.json").is_file()


def test_adapters_for_layers_that_are_not_there(minilm1: Path) -> None:
    with pytest.raises(RecipeError, match="adapters do not fit") as error:
        student(minilm1, lora=LoraSection(targets=["no_such_layer"]))
    assert error.value.where == "student.lora.targets"


def test_weights_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TeacherError, match="cannot be loaded as a classifier"):
        student(tmp_path)
    with pytest.raises(RunError, match="no classifier that can be read"):
        open_classifier(tmp_path)


def test_texts_are_cut_at_the_card_or_the_model_whichever_is_less(minilm1: Path) -> None:
    inputs = student(minilm1).read(["word " * 100, "a word"], Console(quiet=True))
    assert inputs.lengths_n.tolist() == [16, 4]
    assert student(minilm1, ClassCard(CARD.labels, False, "full", 9999)).max_tokens == 512
