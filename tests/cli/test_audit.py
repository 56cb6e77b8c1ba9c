"""The verb `audit`, run as a user runs it, on a finished run and before any."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.corpus.documents import Documents
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.metrics.ranking import find_hits
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.store import Store

Call = Callable[..., tuple[int, str, str]]


def audited(call: Call, tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """Audit; return what --json holds."""
    file = tmp_path / "audit.json"
    status, _, err = call("audit", *arguments, "--quiet", "--json", file)
    assert status == 0, err
    return dict(json.loads(file.read_text()))


@pytest.fixture
def copied(taught: Any, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    shutil.copytree(taught.run, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_against_its_files(call: Call, taught: Any, tmp_path: Path) -> None:
    found = audited(call, tmp_path, taught.run)
    cycle = taught.run / "cycles" / "00"
    judged, shortlist = JudgedShortlist.load(cycle / "verdicts.npz"), Shortlist.load(cycle / "shortlist.npz")
    from lmteach.corpus.load import load_corpus
    from lmteach.recipe.load import load_recipe

    recipe = load_recipe(str(taught.recipe)).recipe
    gold = load_corpus(recipe.corpus, recipe.seed, Path.cwd()).train.gold.take(shortlist.positions_q)
    yes, right = judged.scores_nk > 0, find_hits(judged.label_ids_nk, gold)
    assert found["overview"]["n_pairs"] == judged.judged_nk.sum() == 500
    assert found["overview"]["yes_rate"]["mean"] == pytest.approx(yes.mean())
    assert [row["yes"]["n_yes"] for row in found["ranks"]] == yes.sum(axis=0).tolist()
    assert [row["gold"] for row in found["ranks"]] == pytest.approx(right.mean(axis=0))
    assert found["gold"]["accuracy"]["mean"] == pytest.approx((yes == right).mean())
    assert found["gold"]["precision"]["mean"] == pytest.approx((yes & right).sum() / yes.sum())
    assert found["gold"]["recall"]["mean"] == pytest.approx((yes & right).sum() / right.sum())
    assert (
        found["gold"]["accuracy"]["low"]
        < found["gold"]["accuracy"]["mean"]
        < found["gold"]["accuracy"]["high"]
    )
    assert 0.85 < found["gold"]["accuracy"]["mean"] < 0.95, "the teacher errs in a tenth"
    assert [row["n_judgements"] for row in found["depths"]] == [100, 200, 300, 400, 500]
    assert found["recommended"] is None
    assert found["judged"] == 0


def test_what_is_printed(call: Call, taught: Any) -> None:
    status, out, err = call("audit", taught.run, "--quiet", "--disputed", "6")
    assert (status, err) == (0, "")
    for text in (
        "100 documents, 500 pairs: yes 0.",
        "by place in the shortlist",
        "against gold, 95% intervals over documents",
        "labels it uses too often",
        "yes, not gold: 'desk ",
        "gold, not yes: 'desk ",
        "6 items in dispute",
        "    A note on ",
        "judged to k = 5; --deep N",
    ):
        assert text in out, text


def test_deep_judgement_recommends_a_depth(call: Call, bench: Any, tmp_path: Path) -> None:
    found = audited(call, tmp_path, "--recipe", bench.recipe, "--documents", 60, "--deep", 40, "--depth", 12)
    assert found["overview"]["n_documents"] == 60
    assert found["deep_documents"] == 40
    assert len(found["depths"]) == 12
    assert len(bench.asked()) == len(set(bench.asked())) == 60 * 5 + 40 * 7, "the first five are in the store"
    shares = [row["found"]["mean"] for row in found["depths"]]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    n_right = [row["n_right"] for row in found["depths"]]
    marginal = np.diff([0, *n_right]) / 40
    assert [row["marginal"] for row in found["depths"]] == pytest.approx(marginal)
    k = found["recommended"]
    assert shares[k - 1] >= 0.9 or marginal[k - 1 : k + 2].mean() < 0.06
    assert k == 1 or shares[k - 2] < 0.9


def test_a_shallow_shortlist_is_said(call: Call, taught: Any, bench: Any, tmp_path: Path) -> None:
    found = audited(call, tmp_path, "--recipe", bench.recipe, "--documents", 10, "--deep", 5)
    assert len(found["depths"]) == 12
    assert found["notes"] == ["The shortlists hold 12 candidates (search.n_kept), so 12 are judged."]


def test_other_teachers_of_the_store_and_wordings(call: Call, bench: Any, tmp_path: Path) -> None:
    recipe = ["--recipe", bench.recipe, "--documents", 50]
    first = audited(call, tmp_path, *recipe)
    assert first["teachers"] == []
    exact = audited(call, tmp_path, *recipe, "teacher.noise=0")
    (other,) = exact["teachers"]
    assert other["name"] == "noting noise=0.1 prompt=about"
    assert other["n_pairs"] == 250
    assert 0.85 < other["agreed"]["interval"]["mean"] < 0.95
    assert other["auc"] == 1 > other["other_auc"]
    assert exact["gold"]["precision"]["mean"] == exact["gold"]["kappa"]["mean"] == 1
    assert {item["kind"] for item in exact["disputes"]} == {"teachers differ"}
    assert exact["disputes"][0]["other"] == other["name"]

    again = audited(
        call, tmp_path, *recipe, "teacher.noise=0", "--sample", 20,
        "--prompt", "about-paraphrased", "--prompt", "likelihood", "--teacher", "noise=0.4",
    )  # fmt: skip
    names = [variant["name"] for variant in again["variants"]]
    assert names[:2] == ["prompt about-paraphrased", "prompt likelihood"]
    assert names[2].startswith("teacher ")
    assert [variant["n_pairs"] for variant in again["variants"]] == [100, 100, 100]
    assert again["variants"][0]["kappa"] == 1
    assert 0.4 < again["variants"][2]["agreed"]["interval"]["mean"] < 0.8
    assert again["judged"] == 300


def test_an_oracle_beside_the_teacher(call: Call, taught: Any, tmp_path: Path) -> None:
    found = audited(call, tmp_path, taught.run, "--teacher", "name=oracle", "--sample", 30)
    (variant,) = found["variants"]
    assert variant["other_auc"] == 1
    assert variant["n_pairs"] == 150


def test_test_gold_stays_sealed(
    call: Call, taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Documents) -> None:
        raise AssertionError("the test documents' gold was unsealed")

    monkeypatch.setattr(Documents, "unseal", refuse)
    read: list[str] = []
    original = Documents._read_gold
    monkeypatch.setattr(Documents, "_read_gold", lambda self: read.append(self.gold_access) or original(self))
    audited(call, tmp_path, taught.run, "--deep", 5, "--teacher", "noise=0.2")
    assert read
    assert "sealed" not in read


def test_without_gold(call: Call, bench: Any, desks: Path, tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.mkdir()
    (blank / "labels.txt").write_text((desks / "labels.txt").read_text())
    lines = [json.loads(line) for line in (desks / "train.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({"id": line["id"], "text": line["text"]}) + "\n" for line in lines)
    (blank / "train.jsonl").write_text(text)
    teacher = "teacher={name: random, unread: 0.2}"
    recipe = ["--recipe", bench.recipe, f"corpus.path={blank}", teacher, "--documents", 80]
    found = audited(call, tmp_path, *recipe, "--teacher", "seed=5", "--deep", 20)
    assert found["gold"] is None
    assert found["overview"]["n_unread"] == sum(row["yes"]["n_unread"] for row in found["ranks"])
    assert 0.1 < found["overview"]["unread_rate"] < 0.3
    assert all(row["gold"] is None for row in found["ranks"])
    assert found["depths"][-1]["n_right"] is None
    excess = [use["n_yes"] - use["expected"] for use in found["overused"]]
    assert excess == sorted(excess, reverse=True)
    assert {item["kind"] for item in found["disputes"]} == {"teachers differ"}
    status, out, _ = call("audit", *recipe, "--quiet")
    assert status == 0
    assert "against gold" not in out


def test_a_cycle_may_be_chosen(call: Call, finished_run: tuple[Path, Any], tmp_path: Path) -> None:
    run, _ = finished_run
    assert audited(call, tmp_path, run)["source"] == f"cycle 1 of {run}"
    assert audited(call, tmp_path, run, "--cycle", 0)["source"] == f"cycle 0 of {run}"
    status, _, err = call("audit", run, "--cycle", 7)
    assert status == 1
    assert "Cycle 7 of this run has no verdicts; there are cycles 0, 1" in err


def test_the_store_may_be_gone(call: Call, taught: Any, copied: Path, tmp_path: Path) -> None:
    recipe = (copied / "recipe.yaml").read_text().replace(str(taught.store), str(tmp_path / "gone.sqlite"))
    (copied / "recipe.yaml").write_text(recipe)
    found = audited(call, tmp_path, copied)
    assert found["teachers"] == []
    assert not (tmp_path / "gone.sqlite").exists(), "looking makes no store"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["What is to be looked at?", "lmteach audit runs/NAME"]),
        (["nowhere"], ["nowhere", "no run here"]),
        (["RUN", "--recipe", "lmtx_quickstart"], ["Both a run and a recipe"]),
        (["RUN", "nowhere"], ["2 run folders"]),
        (["RUN", "teacher.noise=0.2"], ["cannot change it", "--teacher"]),
        (["--recipe", "lmtx_debtag"], ["lmtx_debtags"]),
        (["RUN", "--deep", "-1"], ["--deep is -1; it must be 0 or more"]),
        (["RUN", "--prompt", "abuot"], ["'abuot'", "'about'"]),
        (["RUN", "--teacher", "nois=0.2"], ["'nois'", "'noise'"]),
        (["RUN", "--teacher", "name=orakle"], ["'orakle'", "'oracle'"]),
        (["RUN", "--teacher", "noise"], ["'noise' is no override"]),
    ],
)
def test_mistakes_are_named(call: Call, taught: Any, arguments: list[str], said: list[str]) -> None:
    status, out, err = call("audit", *[taught.run if a == "RUN" else a for a in arguments])
    assert status == 1
    assert not out
    assert all(text in err for text in said), err


def test_a_teacher_without_a_prompt(call: Call, finished_run: tuple[Path, Any]) -> None:
    status, _, err = call("audit", finished_run[0], "--prompt", "about")
    assert status == 1
    assert "The teacher 'oracle' takes no prompt" in err


def test_a_run_without_verdicts(call: Call, copied: Path) -> None:
    (copied / "cycles" / "00" / "verdicts.npz").unlink()
    status, _, err = call("audit", copied)
    assert status == 1
    assert "This run has no verdicts yet" in err
    assert f"lmteach audit --recipe {copied / 'recipe.yaml'} --documents 200" in err


def test_another_corpus_than_the_runs(call: Call, copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, "corpus": "0" * 64}))
    status, _, err = call("audit", copied)
    assert status == 1
    assert "no longer the one that this run was made with" in err


def test_an_audit_leaves_the_store_where_fit_finds_it(call: Call, bench: Any, tmp_path: Path) -> None:
    audited(call, tmp_path, "--recipe", bench.recipe, "--documents", 200)
    with Store.open(bench.store) as store:
        assert sum(stats.verdicts for stats in store.stats()) == 500
    assert call("fit", "--recipe", bench.recipe, "--quiet")[0] == 0
    assert len(bench.asked()) == len(set(bench.asked()))
