"""Lists of regimes and seeds on the command line, and the table they end in."""

from __future__ import annotations

from typing import Any

import pytest

from lmteach.curriculum.regimes import expand, fit_regimes, print_regimes, take_lists
from lmteach.errors import RecipeError
from lmteach.recipe.schema import CorpusSection, NoiseSection, Recipe, RunSection
from lmteach.tracking.console import Console


def test_only_lists_are_taken() -> None:
    assert take_lists(["supervision=teacher", "a=1,2", "seed=3"])[0] == {}
    lists, rest = take_lists(["supervision=all", "--seed=1,2", "training.lr=1"])
    assert lists == {"supervision": ["gold", "teacher", "teacher_extra", "combined"], "seed": ["1", "2"]}
    assert rest == ["training.lr=1"]
    assert take_lists(["supervision=[gold,combined]"])[0] == {"supervision": ["gold", "combined"]}


@pytest.mark.parametrize("override", ["supervision=gold,techer", "seed=1,x"])
def test_a_wrong_value_is_an_error(override: str) -> None:
    with pytest.raises(RecipeError, match=r"techer|x"):
        take_lists([override])


def test_each_run_has_its_folder_and_no_more_documents_than_it_reads() -> None:
    recipe = Recipe(name="r", corpus=CorpusSection(n_extra=9), run=RunSection(folder="f"))
    found = expand(recipe, {"supervision": ["gold", "teacher_extra"], "seed": ["1", "2"]})
    assert [(r.run.folder, r.seed, r.supervision, r.corpus.n_extra) for r in found] == [
        ("f/gold_seed1", 1, "gold", 0),
        ("f/teacher_extra_seed1", 1, "teacher_extra", 9),
        ("f/gold_seed2", 2, "gold", 0),
        ("f/teacher_extra_seed2", 2, "teacher_extra", 9),
    ]
    assert recipe.supervision == "gold"
    assert [r.run.folder for r in expand(recipe, {"supervision": ["gold"]})] == ["f/gold"]


def test_gold_is_not_weighed_by_a_teachers_doubts() -> None:
    recipe = Recipe(
        name="r", noise=NoiseSection(labels="soft", drop="confident_learning"), loss={"name": "gce"}
    )
    gold, teacher = expand(recipe, {"supervision": ["gold", "teacher"]})
    assert (gold.noise.labels, gold.noise.drop, gold.loss) == ("hard", "none", {"name": "gce"})
    assert teacher.noise == recipe.noise


def test_a_tagger_has_no_regimes() -> None:
    with pytest.raises(RecipeError, match="classifier"):
        fit_regimes(Recipe(name="r"), {"supervision": ["gold"]}, Console(quiet=True))


def final(regime: str, accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "supervision": regime,
        "student": {"accuracy": accuracy},
        "intervals": {"student": {"accuracy": [accuracy - 0.01, accuracy + 0.01]}},
        "stages": [{"documents": 1000.0}],
        **more,
    }


def test_the_table_has_ours_beside_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Recipe(name="r", paper={"gold": 96.54})
    teacher = {"train": {"accuracy": 0.9}}
    finals = [final("gold", 0.8), final("gold", 0.9), final("teacher", 0.7, teacher=teacher)]
    print_regimes(recipe, finals, Console(quiet=True))
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["gold"] == ["gold", "1,000", "85.00", "±", "7.07", "96.54"]
    assert rows["teacher"][2:] == ["70.00", "[69.00,", "71.00]", "90.00"]
