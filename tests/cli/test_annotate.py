"""The verb `annotate`, run as a user runs it: exactly what `fit` will ask, kept where `fit` looks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmteach.search.shortlist import Shortlist
from lmteach.teaching.store import Store

Call = Callable[..., tuple[int, str, str]]


def n_verdicts(store: Path) -> int:
    with Store.open(store, create=False) as opened:
        return sum(stats.verdicts for stats in opened.stats())


def test_fit_asks_nothing_more_about_training_documents(call: Call, bench: Any) -> None:
    status, out, err = call("annotate", "--recipe", bench.recipe, "--quiet")
    assert status == 0, err
    assert "train 100 documents: 500 judgements made, 0 from the store, 0 unread; 3,500 tokens" in out
    assert "dev   20 documents: 40 judgements made" in out
    assert "kept in" in out
    assert "noting noise=0.1" in out
    ahead = bench.asked()
    assert len(ahead) == len(set(ahead)) == 540
    assert not bench.run.exists(), "annotate begins no run"

    status, _, err = call("fit", "--recipe", bench.recipe, "--quiet")
    assert status == 0, err
    later = bench.asked()[len(ahead) :]
    shortlist = Shortlist.load(bench.run / "cycles" / "00" / "shortlist.npz")
    assert len(shortlist) == 100
    train = set(call_ids(bench))
    assert not [pair for pair in later if pair[0] in train], "only dev documents, by the trained student"
    cycle = next(json.loads(line) for line in (bench.run / "metrics.jsonl").read_text().splitlines())
    assert cycle["judgements"] == len(later) <= 40
    assert cycle["from_store"] == 540 - len(later)


def call_ids(bench: Any) -> list[str]:
    """The ids of the recipe's training documents."""
    from lmteach.corpus.load import load_corpus
    from lmteach.recipe.load import load_recipe

    recipe = load_recipe(str(bench.recipe)).recipe
    return list(load_corpus(recipe.corpus, recipe.seed, Path.cwd()).train.ids)


def test_a_budget_stops_cleanly_and_the_next_call_goes_on(call: Call, bench: Any) -> None:
    status, out, _ = call("annotate", "--recipe", bench.recipe, "--quiet", "budget.judgements=123")
    assert status == 0
    assert "stopped at budget.judgements = 123" in out
    assert 118 < n_verdicts(bench.store) <= 123, "whole documents, as many as fit"
    n_first = len(bench.asked())
    status, out, _ = call("annotate", "--recipe", bench.recipe, "--quiet")
    assert status == 0
    made = [int(n) for n in re.findall(r"(\d+) judgements made", out)]
    assert len(made) == 2
    assert sum(made) == 540 - n_first
    assert max(Counter(bench.asked()).values()) == 1, "nothing is judged twice"


def test_the_student_of_a_run_asks_about_other_labels(call: Call, bench: Any, taught: Any) -> None:
    status, _, err = call("annotate", "--recipe", bench.recipe, "--quiet", "--student", taught.run)
    assert status == 0, err
    train = set(call_ids(bench))
    of_train = [[pair for pair in one.asked() if pair[0] in train] for one in (bench, taught)]
    mine, theirs = set(of_train[0]), set(of_train[1][:500])  # others ask more of what was taught, later
    assert len(mine) == len(theirs) == 500
    assert len(mine & theirs) < 490


@pytest.mark.parametrize("teacher", ["oracle", "random"])
def test_a_teacher_that_is_never_kept_is_refused(call: Call, bench: Any, teacher: str) -> None:
    status, out, err = call("annotate", "--recipe", bench.recipe, f"teacher={{name: {teacher}}}")
    assert status == 1
    assert not out
    assert f"'{teacher}' says costs nothing and is never kept in the store" in err
    assert "lmteach fit" in err
    assert not bench.store.exists()


def test_an_ensemble_keeps_what_its_members_say(call: Call, bench: Any, noting: str) -> None:
    members = f"[{{name: '{noting}', noise: 0.2}}, {{name: random}}]"
    section = f"teacher={{name: ensemble, student_weight: 1.0, members: {members}}}"
    status, out, err = call("annotate", "--recipe", bench.recipe, "--quiet", section)
    assert status == 0, err
    assert n_verdicts(bench.store) == 540
    assert "kept in" in out
    assert "random" not in out.partition("kept in")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "lmtx_quikstart"], ["no recipe 'lmtx_quikstart'", "lmtx_quickstart"]),
        (["--student", "nowhere"], ["nowhere", "no run here"]),
        (["serch.n_judged=3"], ["serch", "search"]),
        (["search.n_judged=13"], ["search.n_judged = 13 is more than search.n_kept = 12"]),
        (["teacher.name=segment"], ["judge"]),
    ],
)
def test_mistakes_are_named(call: Call, bench: Any, arguments: list[str], said: list[str]) -> None:
    given = arguments if "--recipe" in arguments else ["--recipe", bench.recipe, *arguments]
    status, _, err = call("annotate", *given)
    assert status == 1
    assert all(text in err for text in said), err
    assert not bench.store.exists()


def test_a_run_without_a_student_is_named(call: Call, bench: Any, taught: Any, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.yaml").write_text((taught.run / "recipe.yaml").read_text())
    status, _, err = call("annotate", "--recipe", bench.recipe, "--student", unfinished)
    assert status == 1
    assert "This run has no student yet" in err
    assert "fit --resume" in err


def test_a_warm_up_is_done_once_for_both(call: Call, bench: Any) -> None:
    warm = ["warmup.teacher={name: segment, min_length: 2}", "warmup.epochs=1", "training.batch_size=8"]
    status, _, err = call("annotate", "--recipe", bench.recipe, "--quiet", *warm)
    assert status == 0, err
    weights = bench.run / "warmup" / "student" / "model.safetensors"
    before, n_ahead = weights.stat().st_mtime_ns, len(bench.asked())
    status, _, err = call("fit", "--recipe", bench.recipe, "--quiet", *warm)
    assert status == 0, err
    assert weights.stat().st_mtime_ns == before
    train = set(call_ids(bench))
    assert not [pair for pair in bench.asked()[n_ahead:] if pair[0] in train]
