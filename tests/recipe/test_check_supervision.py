"""Contradictions between regimes, classes and noise are told before anything is read."""

from __future__ import annotations

import pytest

from lmteach.errors import RecipeError
from lmteach.recipe.check import check_recipe
from lmteach.recipe.load import load_recipe


def check(*overrides: str) -> None:
    check_recipe(load_recipe("llambert_imdb_small.yaml", list(overrides)).recipe)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["supervision=combined"], "corpus.n_extra"),
        (["corpus.n_extra=-1"], "corpus.n_extra"),
        (["supervision=gold", "noise.labels=soft"], "supervision = gold"),
        (["loss.name=gce", "loss.q=0"], "loss.q"),
        (["loss.smoothing=1"], "loss.smoothing"),
        (["loss.name=sce", "loss.alpha=0", "loss.beta=0"], "loss.alpha"),
        (["loss.name=sce", "loss.alpha=-1"], "loss.alpha"),
        (["student.multilabel=true"], "classes.prior"),
        (["student.multilabel=true", "noise.drop=confident_learning"], "noise.drop"),
        (["classes.prior=contextual", "classes.content_free=[]"], "content_free"),
    ],
)
def test_a_contradiction_names_its_key(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as error:
        check(*overrides)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["supervision=gold"],
        ["supervision=combined", "corpus.n_extra=null"],
        ["noise.labels=soft", "loss.name=sce", "noise.drop=confident_learning"],
        ["student.multilabel=true", "classes.prior=none", "loss.name=gce"],
    ],
)
def test_what_is_sound_passes(overrides: list[str]) -> None:
    check(*overrides)
