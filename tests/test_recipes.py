"""The shipped recipes: each loads, is checked and says how it is run; the paper's are the paper's."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from lmteach import registry
from lmteach.corpus.catalog import CATALOG
from lmteach.curriculum.regimes import take_lists
from lmteach.recipe.check import check_recipe
from lmteach.recipe.layers import find_recipe, shipped_folder, shipped_recipes
from lmteach.recipe.load import flatten, load_recipe, to_yaml
from lmteach.teaching.prompts import load_prompt

RECIPES = [path.name for path in shipped_recipes()]

# The paper's table of data sets: prompt, cycles at most, documents to train on, label length, known set.
PAPER = {
    "lmtx_eurlex4k.yaml": ("lmtx-0", 6, None, 15, "eurlex-4k", "{text}"),
    "lmtx_wiki10.yaml": ("lmtx-2", 6, None, 15, "wiki10-31k", "{text}"),
    "lmtx_amazoncat.yaml": ("lmtx-1", 4, 30_000, 15, "amazoncat-13k", "{title}\t{text}"),
    "lmtx_wikiseealso.yaml": ("lmtx-7", 3, 30_000, 64, "lf-wikiseealso-320k", "{title}\t{text}"),
    "lmtx_wikipedia500k.yaml": ("lmtx-0", 3, 30_000, 15, "lf-wikipedia-500k", "{title}\t{text}"),
}


def opening(path: Path) -> list[str]:
    """The comment that a recipe opens with, joined where a line ends in a backslash."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def test_the_recipes_that_were_promised_are_there() -> None:
    wanted = {*PAPER, "lmtx_quickstart.yaml", "lmtx_eurlex57k.yaml", "lmtx_debtags.yaml"}
    assert wanted <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads_is_checked_and_comes_back_from_yaml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name).recipe
    check_recipe(recipe)
    assert recipe.name == Path(name).stem
    (tmp_path / "again.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(str(tmp_path / "again.yaml")).recipe == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_known_set_and_prompts_that_exist(name: str) -> None:
    recipe = load_recipe(name).recipe
    assert recipe.corpus.name == "python-docs" or recipe.corpus.name in CATALOG
    registry.build("curriculum", recipe.curriculum)
    registry.build("searcher", recipe.search.searcher)
    for teacher in (recipe.teacher, *recipe.teacher.get("members", ())):
        if "prompt" in teacher:
            assert load_prompt(teacher["prompt"]).kind


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_opens_by_saying_what_it_needs_and_how_it_is_run(name: str) -> None:
    lines = opening(find_recipe(name))
    assert lines[0].startswith(("LMTX", "LLMEmbed", "LlamBERT"))
    assert len(lines[0]) <= 120
    said = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}
    assert said["Needs"]
    assert said["Run"] == f"lmteach fit --recipe {name}"
    assert "Small" in said


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_in_its_comment_are_recipes_too(name: str) -> None:
    commands = re.findall(rf"lmteach fit --recipe {name}.*", "\n".join(opening(find_recipe(name))))
    assert len(commands) >= 2
    for command in commands:
        _, overrides = take_lists(shlex.split(command)[4:])
        check_recipe(load_recipe(name, overrides).recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_that_gets_its_data_names_the_set(name: str) -> None:
    recipe = load_recipe(name).recipe
    text = "\n".join(opening(find_recipe(name)))
    if recipe.corpus.name != "python-docs":
        assert f"lmteach data {recipe.corpus.name}" in text


def test_the_base_holds_the_papers_values() -> None:
    """PAPERS: 'One cycle', and the training and loss under it."""
    flat = flatten(dataclasses.asdict(load_recipe("base/lmtx.yaml").recipe))
    paper = {
        "seed": 108,
        "corpus.n_dev": 800,
        "teacher.name": "transformers",
        "teacher.max_document_tokens": 430,
        "annotation.rule": "threshold",
        "annotation.threshold": 0.0,
        "annotation.ask": "text",
        "student.start": "pretrained",
        "student.encoder.model": "sentence-transformers/msmarco-distilbert-base-v4",
        "student.encoder.pooling": "mean",
        "student.encoder.document_length": 450,
        "student.encoder.search_length": 430,
        "student.encoder.label_length": 15,
        "student.encoder.dropout": None,
        "loss.name": "weighted_triplet",
        "loss.margin": 0.3,
        "loss.temperature": 0.1,
        "loss.n_negatives": 10,
        "training.epochs": 1,
        "training.batch_size": 128,
        "training.lr": 2e-4,
        "training.eps": 1e-6,
        "training.weight_decay": 0.0,
        "training.warmup_steps": 100,
        "training.gradient_clip": None,
        "training.drop_last": True,
        "search.n_retrieved": 300,
        "search.n_kept": 30,
        "search.n_judged": 10,
        "dev.n_judged": 2,
        "curriculum.name": "lmtx",
        "curriculum.patience": 1,
        "curriculum.n_documents": None,
        "curriculum.fresh": False,
        "warmup.teacher": {},
        "calibration.documents": 0,
    }
    assert {key: flat[key] for key in paper} == paper
    assert "WizardLM-13B" in flat["teacher.model"]


def test_the_base_says_the_papers_values_itself() -> None:
    """A changed default of the schema must not change the paper's recipe."""
    said = {key for key, origin in load_recipe("base/lmtx.yaml").origins.items() if origin != "default"}
    for section in ("loss", "training", "search", "student.encoder", "curriculum", "dev"):
        keys = {key for key in said if key.startswith(f"{section}.")}
        assert keys, section
    assert {
        "seed",
        "loss.margin",
        "loss.temperature",
        "training.lr",
        "search.n_judged",
        "dev.n_judged",
    } <= said


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_five_sets(name: str) -> None:
    recipe = load_recipe(name).recipe
    assert (
        recipe.teacher["prompt"],
        recipe.curriculum["cycles"],
        recipe.corpus.n_train,
        recipe.student.encoder["label_length"],
        recipe.corpus.name,
        recipe.corpus.text,
    ) == PAPER[name]
    base = flatten(dataclasses.asdict(load_recipe("base/lmtx.yaml").recipe))
    own = flatten(dataclasses.asdict(recipe))
    changed = {key for key in own if own[key] != base.get(key)}
    may_change = {"name", "teacher.prompt", "curriculum.cycles", "student.encoder.label_length"}
    of_the_set = ("corpus.", "evaluation.propensity_")
    assert {key for key in changed if not key.startswith(of_the_set)} <= may_change


def test_the_quickstart_needs_only_packages() -> None:
    recipe = load_recipe("lmtx_quickstart.yaml").recipe
    assert recipe.corpus.name == "python-docs"
    assert recipe.corpus.packages == ["stdlib"]
    models = [recipe.student.encoder["model"]]
    models += [m["model"] for m in (recipe.teacher, *recipe.teacher.get("members", ())) if "model" in m]
    assert len(models) > 1
    assert all(model.startswith("package:") for model in models)


def test_parents_and_children_are_packaged() -> None:
    """Package data and folder must agree, or a wheel lacks them."""
    spec = importlib.util.find_spec("lmteach_recipes")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == shipped_folder()
    assert (shipped_folder() / "base" / "lmtx.yaml").is_file()
