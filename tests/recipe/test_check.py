"""Contradictions between a recipe's keys, all reported at once, before anything is spent."""

from __future__ import annotations

import pytest

from lmteach.errors import RecipeError
from lmteach.recipe.check import check_label_count, check_recipe
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import Recipe


def recipe(*overrides: str) -> Recipe:
    return load_recipe("base/lmtx.yaml", ["corpus.name=x", *overrides]).recipe


def test_the_papers_recipe_needs_a_corpus_and_nothing_else() -> None:
    check_recipe(recipe())
    with pytest.raises(RecipeError, match=r"lmtx: No corpus: set corpus\.name"):
        check_recipe(load_recipe("base/lmtx.yaml").recipe)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["search.n_judged=31"], "search.n_judged = 31 is more than search.n_kept = 30"),
        (["dev.n_judged=31"], "dev.n_judged = 31 is more than search.n_kept = 30"),
        (["search.n_kept=301"], "search.n_kept = 301 is more than search.n_retrieved = 300"),
        (["trainer.strategy=fsdq"], "trainer.strategy = fsdq is none of auto, ddp, .* Did you mean 'fsdp'"),
        (["trainer.strategy=ddp_spawn"], "trainer.strategy = ddp_spawn is none of auto, ddp"),
        (["trainer.timeout=0"], "trainer.timeout = 0.0 must be above 0"),
        (["training.accumulate=0"], "training.accumulate = 0 must be above 0"),
        (["training.cached_batch=0"], "training.cached_batch = 0 must be above 0, or null"),
        (["training.batch_size=1"], "leaves no other document's label as a negative"),
        (["training.batch_size=0"], "training.batch_size = 0 must be above 0"),
        (["training.epochs=0"], "training.epochs = 0"),
        (["training.lr=0"], "training.lr = 0.0"),
        (["training.lr=.nan"], "training.lr = nan"),
        (["training.lr=.inf"], "training.lr = inf"),
        (["training.eps=-1"], "training.eps = -1.0 must be 0 or more"),
        (["training.weight_decay=-0.1"], "training.weight_decay"),
        (["training.warmup_steps=-1"], "training.warmup_steps"),
        (["training.gradient_clip=0"], "training.gradient_clip = 0.0 must be above 0, or null"),
        (["loss.temperature=0"], "loss.temperature"),
        (["loss.n_negatives=0"], "loss.n_negatives"),
        (["loss.margin=.nan"], "loss.margin: It is nan; it must be a finite number"),
        (["corpus.n_dev=0"], "corpus.n_dev = 0"),
        (["search.n_judged=0"], "search.n_judged = 0"),
        (["search.batch_tokens=0"], "search.batch_tokens"),
        (["annotation.keep=0"], "annotation.keep = 0.0 is a share"),
        (["annotation.keep=1.1"], "annotation.keep = 1.1 is a share"),
        (["annotation.quantile=1"], "annotation.quantile = 1.0 is a share"),
        (["annotation.threshold=.inf"], "annotation.threshold = inf must be a finite number"),
        (["evaluation.ks=[]"], "evaluation.ks = .* must hold at least one depth"),
        (["evaluation.ks=[0, 5]"], "evaluation.ks"),
        (["evaluation.resamples=0"], "evaluation.resamples"),
        (["budget.usd=0"], "budget.usd = 0.0 must be above 0, or null for no cap"),
        (["budget.hours=.nan"], "budget.hours = nan"),
        (["trainer.devices=0"], "trainer.devices"),
        (["seed=-1"], "seed = -1 must lie between 0 and"),
        (["seed=4294967296"], "seed = 4294967296 must lie between"),
        (["calibration.documents=-1"], "calibration.documents = -1"),
        (["calibration.documents=5", "annotation.rule=top"], "set annotation.rule=threshold"),
        (["calibration.teacher={name: oracle}"], "calibration.teacher is named"),
        (["warmup.epochs=0"], "warmup.epochs"),
        (["warmup.lr=0"], "warmup.lr"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_value(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_recipe(recipe(*overrides))


def test_all_contradictions_come_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe("training.epochs=0", "seed=-1", "annotation.keep=2", "search.n_judged=99"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "lmtx: "
    assert len(lines) == 5
    assert all(line.startswith("  - ") for line in lines[1:])


def test_values_at_their_limits_are_fine() -> None:
    check_recipe(
        recipe(
            "annotation.keep=1",
            "annotation.quantile=0",
            "training.batch_size=2",
            "training.warmup_steps=0",
            "training.eps=0",
            "search.n_judged=30",
            "search.n_kept=30",
            "dev.n_judged=1",
            "seed=0",
            "budget.judgements=1",
            "calibration.precision=null",
        )
    )


def test_a_label_set_must_hold_the_shortlists() -> None:
    sizes = recipe("search.n_kept=12", "search.n_judged=5", "dev.n_judged=4")
    check_label_count(sizes, 12)  # n_retrieved = 300 is clipped
    with pytest.raises(
        RecipeError, match=r"11 labels, fewer than search\.n_kept = 12\.\n  Set search\.n_kept=11"
    ):
        check_label_count(sizes, 11)
    with pytest.raises(RecipeError, match=r"4 labels, fewer than search\.n_judged = 5"):
        check_label_count(sizes, 4)
    with pytest.raises(RecipeError, match="1 label; there is nothing to choose between"):
        check_label_count(sizes, 1)
