"""What a classifier's recipe asks of its teacher, told before it is asked, and true afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from lmteach.curriculum.costing import cost
from lmteach.curriculum.planning import Groundwork, lay_groundwork
from lmteach.curriculum.supervision import label_documents
from lmteach.tracking.console import Console


def plan(recipe: Any) -> Groundwork:
    return lay_groundwork(recipe, Console(quiet=True))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["supervision=gold"], []),
        (["supervision=teacher"], [("train", 60, 120)]),
        (["supervision=teacher", "curriculum.n_documents=10"], [("train", 10, 20)]),
        (["supervision=teacher_extra", "corpus.n_extra=null"], [("train", 60, 120), ("extra", 30, 60)]),
        (["supervision=combined", "corpus.n_extra=7"], [("extra", 7, 14)]),
        (["supervision=teacher", "classes.paraphrases=[b]"], [("train", 60, 240)]),
    ],
)
def test_a_plan_comes_true(keys: list[str], expected: list[tuple[str, int, int]], start: Any) -> None:
    context, folder = start(*keys)
    work = plan(context.recipe)
    assert [(s.split, s.n_documents, s.n_to_make) for s in work.stages] == expected
    assert all(stage.exact for stage in work.stages)
    label_documents(context, folder)
    assert context.counters.made == sum(n for _, _, n in expected)
    assert all(stage.n_to_make == 0 for stage in plan(context.recipe).stages)


def test_the_next_labels_have_a_price(start: Any) -> None:
    context, _ = start("supervision=teacher")
    context.recipe.teacher = {
        "name": "openai",
        "model": "gpt-4o-mini",
        "base_url": "http://127.0.0.1:9/v1",
        "prompt": "choice",
    }
    work = plan(context.recipe)
    found = cost(work)
    (more,), (first,) = found.next_labels, found.first
    assert first.tokens
    assert more.tokens == pytest.approx(first.tokens * 1000 / 60, rel=0.2)


def test_a_tagger_has_no_such_line(desk_recipe: Any, recipe_file: Any, own_cache: Any) -> None:
    from lmteach.recipe.load import load_recipe

    assert cost(plan(load_recipe(str(recipe_file)).recipe)).next_labels == []
