"""The verbs that only look: show, recipes, plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lmteach.cli.recipes import first_comment
from lmteach.recipe.layers import shipped_recipes


def test_a_shown_recipe_is_a_recipe(call, tmp_path: Path) -> None:
    status, out, _ = call("show", "--recipe", "lmtx_quickstart", "training.lr=1e-3")
    assert status == 0
    (tmp_path / "again.yaml").write_text(out)
    status, again, _ = call("show", "--recipe", tmp_path / "again.yaml")
    assert (status, again) == (0, out)
    assert yaml.safe_load(out)["training"]["lr"] == 0.001


def test_origins_stand_behind_every_value(call, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# mine\nextends: lmtx_quickstart\nseed: 5\n")
    status, out, _ = call("show", "--recipe", tmp_path / "mine.yaml", "--origin", "loss.margin=0.5")
    assert status == 0
    lines = {line.partition(":")[0]: line for line in out.splitlines()}
    assert lines["seed"].split() == ["seed:", "5", "#", "mine.yaml:3"]
    assert lines["loss.margin"].endswith("# command line")
    assert lines["search.n_kept"].partition("# ")[2].startswith(("lmtx.yaml:", "lmtx_quickstart.yaml:"))
    assert lines["budget.usd"].endswith("# default")
    base = (shipped_recipes()[0].parent / "base" / "lmtx.yaml").read_text().splitlines()
    number = int(lines["loss.temperature"].rpartition(":")[2])
    assert base[number - 1].strip().startswith("temperature: 0.1")


def test_several_faults_are_listed_with_their_places(call, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("sed: 5\ntraining: {lr: fast}\n")
    status, out, err = call("show", "--recipe", tmp_path / "mine.yaml", "lossmargin=1")
    assert (status, out) == (1, "")
    assert "has 3 faults:" in err
    assert "mine.yaml:1: There is no key 'sed'" in err
    assert "Did you mean 'seed'?" in err
    assert "mine.yaml:2: 'training.lr' cannot be 'fast'" in err


def test_every_shipped_recipe_is_listed_with_what_it_is(call) -> None:
    status, out, _ = call("recipes")
    assert status == 0
    listed = dict(line.split(None, 1) for line in out.partition("\n\n")[0].splitlines())
    assert list(listed) == [path.name for path in shipped_recipes()]
    assert all(len(text) > 20 for text in listed.values())
    assert listed["lmtx_amazoncat.yaml"].startswith("LMTX on AmazonCat-13K, the paper's setting")


@pytest.mark.parametrize(
    ("text", "said"), [("# A b.\n# c\n", "A b."), ("name: x\n", ""), ("", ""), ("#\n", "")]
)
def test_the_first_comment(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert first_comment(tmp_path / "x.yaml") == said


def test_plugins_are_listed_with_where_each_comes_from(call) -> None:
    status, out, _ = call("plugins")
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    kinds = [row[0] for row in rows]
    assert list(dict.fromkeys(kinds)) == ["teacher", "encoder", "searcher", "curriculum", "head", "loss"]
    known = {(row[0], row[1]) for row in rows}
    assert {("teacher", name) for name in ("transformers", "oracle", "replay", "ensemble")} <= known
    assert {
        ("encoder", "transformers"),
        ("searcher", "exact"),
        ("searcher", "scann"),
        ("searcher", "auto"),
    } <= known
    assert {("curriculum", "lmtx"), ("curriculum", "once")} <= known
    for row in rows:
        assert row[2] == "lmteach"
        assert row[4].startswith("lmteach_plugins.")


def test_one_kind_of_plugin(call) -> None:
    status, out, _ = call("plugins", "--kind", "curriculum")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == {"curriculum"}
    status, _, err = call("plugins", "--kind", "curricula")
    assert status == 1
    assert "There is no plugin kind 'curricula'. Did you mean 'curriculum'?" in err


def test_checking_imports_each(call) -> None:
    status, out, _ = call("plugins", "--kind", "searcher", "--check")
    assert status == 0
    assert all(line.endswith("  ok") for line in out.splitlines())
