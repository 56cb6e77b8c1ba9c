"""Which loss a recipe's student learns by: its own, that of its kind, never that of another kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmteach.errors import PluginError, RecipeError
from lmteach.recipe.check import check_recipe
from lmteach.recipe.load import load_recipe
from lmteach.recipe.loss import build_loss, loss_section, losses_of
from lmteach.recipe.schema import Recipe


def write(folder: Path, text: str) -> str:
    (folder / "r.yaml").write_text("corpus: {name: r8}\n" + text)
    return str(folder / "r.yaml")


@pytest.mark.parametrize(("kind", "name"), [("tagger", "weighted_triplet"), ("classifier", "ce")])
def test_a_recipe_without_a_loss_has_that_of_its_student(tmp_path: Path, kind: str, name: str) -> None:
    loaded = load_recipe(write(tmp_path, f"student: {{kind: {kind}}}\n"))
    assert loaded.recipe.loss["name"] == name
    assert loaded.origins["loss.name"] == "default"
    assert type(build_loss(loaded.recipe)).student_kind == kind
    check_recipe(loaded.recipe)


def test_a_key_alone_is_that_losss_own(tmp_path: Path) -> None:
    path = write(tmp_path, "student: {kind: classifier}\nloss: {smoothing: 0.1}\n")
    assert load_recipe(path).recipe.loss == {"name": "ce", "smoothing": 0.1, "double_softmax": False}
    with pytest.raises(
        RecipeError, match=r"no key 'margin' in 'loss'\. The loss ce has double_softmax, smooth"
    ):
        load_recipe(path, ["loss.margin=0.2"])
    assert load_recipe(path, ["student.kind=tagger", "loss={margin: 0.2}"]).recipe.loss["margin"] == 0.2


def test_a_recipe_made_in_python_has_that_of_its_student() -> None:
    recipe = Recipe()
    assert loss_section(recipe) == {"name": "weighted_triplet"}
    recipe.student.kind = "classifier"
    assert loss_section(recipe) == {"name": "ce"}


@pytest.mark.parametrize(
    ("kind", "loss", "said"),
    [
        (
            "classifier",
            "triplet",
            "loss.name: The loss 'triplet' is for a tagger, and student.kind is classifier.",
        ),
        ("tagger", "gce", "loss.name: The loss 'gce' is for a classifier, and student.kind is tagger."),
    ],
)
def test_a_loss_of_another_kind_of_student_is_the_one_error(
    tmp_path: Path, kind: str, loss: str, said: str
) -> None:
    recipe = load_recipe(write(tmp_path, f"student: {{kind: {kind}}}\nloss: {{name: {loss}}}\n")).recipe
    with pytest.raises(RecipeError) as error:
        check_recipe(recipe)
    assert str(error.value).startswith(f"r: {said}")
    assert f"Losses for a {kind}: {', '.join(losses_of(kind))}." in str(error.value)
    with pytest.raises(RecipeError, match="is for a"):
        build_loss(recipe)


def test_the_losses_of_each_kind() -> None:
    assert {"triplet", "weighted_triplet"} <= set(losses_of("tagger"))
    assert {"ce", "gce", "sce"} <= set(losses_of("classifier"))
    assert not set(losses_of("tagger")) & set(losses_of("classifier"))


def test_another_name_leaves_the_former_losss_keys_behind(tmp_path: Path) -> None:
    path = write(tmp_path, "loss: {name: weighted_triplet, temperature: 0.2, margin: 0.4}\n")
    assert load_recipe(path, ["loss.name=triplet"]).recipe.loss == {
        "name": "triplet",
        "margin": 0.3,
        "n_negatives": 10,
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss.name=tripet", "There is no loss named 'tripet'. Did you mean 'triplet'?"),
        ("student.head.name=lineer", "There is no head named 'lineer'. Did you mean 'linear'?"),
        (
            "loss.margin=.2",
            "'loss'. The loss ce has double_softmax, smoothing; triplet and weighted_triplet have one.",
        ),
        ("loss.q=.2", "'loss'. The loss ce has double_softmax, smoothing; gce has one."),
        ("loss.smothing=.2", "There is no key 'smothing' in 'loss'. Did you mean 'smoothing'?"),
        ("student.head.hiden=[3]", "There is no key 'hiden' in 'student.head'. Did you mean 'hidden'?"),
        (
            "student.head={name: linear, hidden: [3]}",
            "'student.head'. The head linear has no keys; mlp has one.",
        ),
        ("student.head={name: linear, x: 1}", "There is no key 'x' in 'student.head'. There are: none."),
        ("loss=gce", "'loss' cannot be 'gce': it is a section, whose loss is named by loss.name=gce."),
        (
            "student.head=linear",
            "'student.head' cannot be 'linear': it is a section, whose head is named by student.head.name=linear.",
        ),
        (
            "teacher=oracle",
            "'teacher' cannot be 'oracle': it is a section, whose teacher is named by teacher.name=oracle.",
        ),
        ("loss.smoothing=much", "'loss.smoothing' cannot be 'much'"),
    ],
)
def test_a_slip_is_said_with_what_was_meant(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("llmembed_r8_small.yaml", [override])
    assert said in str(error.value)
    assert "command line" in str(error.value)


def test_a_loss_in_a_file_says_whom_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from dataclasses import dataclass\nclass Mine:\n{kind}    @dataclass\n"
    code += "    class Config:\n        a: int = 1\n"
    code += "    def __init__(self, config, multilabel):\n        self.got = config.a, multilabel\n"
    (tmp_path / "good.py").write_text(code.format(kind="    student_kind = 'classifier'\n"))
    (tmp_path / "bad.py").write_text(code.format(kind=""))
    path = write(
        tmp_path, "student: {kind: classifier, multilabel: true}\nloss: {name: './good.py:Mine', a: 2}\n"
    )
    assert build_loss(load_recipe(path).recipe).got == (2, True)
    bad = load_recipe(path, ["loss.name=./bad.py:Mine"]).recipe
    with pytest.raises(PluginError, match="student_kind = None"):
        build_loss(bad)
    with pytest.raises(RecipeError, match="nobody knows whom it is for"):
        check_recipe(bad)
