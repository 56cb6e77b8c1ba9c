"""`lmteach choose-teacher`: a better teacher stands above a worse one, by each of its three measures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.curriculum.choosing import _turn, _turn_back, read_candidate, reworded
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.curriculum.standings import Standing, agreement_with, correlate, gain_by_others, place_all
from lmteach.errors import RecipeError
from lmteach.metrics.intervals import Interval
from lmteach.search.shortlist import Shortlist

Call = Callable[..., tuple[int, str, str]]


def test_better_teachers_stand_higher_and_the_store_keeps_what_they_said(
    bench: Any, noting: str, call: Call, tmp_path: Path
) -> None:
    log = bench.folder / "asked.jsonl"
    teachers = [f"{{name: {noting}, noise: {noise}, log: {log}}}" for noise in (0.4, 0.0, 0.15)]
    arguments = ("choose-teacher", "--recipe", bench.recipe, "--documents", 60, "--json", tmp_path / "c.json")
    status, out, err = call(*arguments, *teachers)
    assert status == 0, err
    choice = json.loads((tmp_path / "c.json").read_text())
    standings = choice["standings"]
    assert [s["place"] for s in standings] == [1, 2, 3]
    assert [f"noise: {noise}" in s["name"] for s, noise in zip(standings, (0.0, 0.15, 0.4), strict=True)] == [
        True
    ] * 3
    assert choice["by_gold"]
    for measure in ("consistency", "agreement", "gain"):
        means = [s[measure]["mean"] for s in standings]
        if measure != "agreement":
            assert means[0] > means[1] > means[2], measure
        assert all(-1 <= m <= 1 for m in means)
    assert all("about-paraphrased" in s["how"] for s in standings), "asked in other words"
    assert all(s["judgements"] == 2 * 60 * 5 for s in standings)
    asked = bench.asked()
    assert len(asked) == 3 * 2 * 60 * 5
    status, _, err = call(*arguments, *teachers)
    assert status == 0, err
    again = json.loads((tmp_path / "c.json").read_text())["standings"]
    assert [s["judgements"] for s in again] == [0, 0, 0]
    assert len(bench.asked()) == len(asked), "nothing was asked twice"
    assert "best by the mean of its ranks" in out


def test_random_stands_last(recipe_file: Path, call: Call, tmp_path: Path) -> None:
    status, out, err = call(
        "choose-teacher",
        "--recipe",
        recipe_file,
        "--documents",
        50,
        "random",
        "oracle",
        "{name: oracle, noise: 0.3}",
    )
    assert status == 0, err
    placed = [line.split() for line in out.splitlines() if line.startswith(("  1", "  2", "  3"))]
    assert [row[1] for row in placed] == ["oracle", "{name:", "random"]


@pytest.mark.parametrize(
    ("teachers", "says"),
    [
        ((), "at least two"),
        (("oracle",), "at least two"),
        (("oracle", "oracle"), "at least two"),
        (("oracle", "randon"), "Did you mean 'random'"),
        (("oracle", "{name: random, sed: 1}"), "sed"),
        (("oracle", "gone.yaml"), "gone.yaml"),
        (("oracle", "random", "--documents", "0"), "1 or more"),
    ],
)
def test_what_cannot_be_compared_is_said(
    teachers: tuple[str, ...], says: str, recipe_file: Path, call: Call
) -> None:
    status, _, err = call("choose-teacher", "--recipe", recipe_file, *teachers)
    assert status == 1
    assert says in err


def test_candidates_are_sections_files_recipes_and_names(recipe_file: Path, tmp_path: Path) -> None:
    own = {"name": "oracle", "noise": 0.5}
    assert read_candidate("recipe", own).section == own
    assert read_candidate("random", own).section["name"] == "random"
    (tmp_path / "one.yaml").write_text("name: oracle\nnoise: 0.25\n")
    found = read_candidate(str(tmp_path / "one.yaml"), own)
    assert (found.name, found.section["noise"]) == ("one", 0.25)
    (tmp_path / "two.yaml").write_text(f"extends: {recipe_file}\nteacher:\n  noise: 0.75\n")
    assert read_candidate(str(tmp_path / "two.yaml"), own).section["noise"] == 0.75


def test_a_paraphrase_is_of_the_same_kind() -> None:
    section = read_candidate("{name: transformers, model: m, prompt: about}", {}).section
    how, other = reworded(section)
    assert "about-paraphrased" in how
    assert other is not None
    assert (other["prompt"], other["model"]) == ("about-paraphrased", "m")
    with pytest.raises(RecipeError, match="likelihood"):
        reworded(section, "likelihood")
    ensemble = {"name": "ensemble", "members": [dict(section)]}
    _, other = reworded(ensemble)
    assert other is not None
    assert other["members"][0]["prompt"] == "about-paraphrased"
    assert reworded(read_candidate("oracle", {}).section) == ("", None)


def test_candidates_are_turned_around_and_back_with_empty_places_last() -> None:
    ids = np.array([[4, 2, 9, 7], [5, 1, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
    cosines = np.where(ids >= 0, -ids, -np.inf).astype(np.float32)
    turned, order = _turn(Shortlist(np.arange(3), ids, cosines), 3)
    assert turned.label_ids_qk.tolist() == [[9, 2, 4], [1, 5, -1], [-1, -1, -1]]
    said = turned.label_ids_qk.astype(np.float32) * 10
    back = _turn_back(JudgedShortlist(turned.label_ids_qk, said, turned.label_ids_qk >= 0), order)
    assert back.tolist() == (ids[:, :3] * 10).tolist()


def test_correlation_is_within_a_document() -> None:
    a = np.array([[1.0, 2, 3], [30, 20, 10], [1, 1, 1], [np.nan, 1, 2]])
    b = np.array([[10.0, 20, 30], [1, 2, 3], [1, 2, 3], [5, 1, 2]])
    found = correlate(a, b)
    assert found[[0, 1, 3]] == pytest.approx([1, -1, 1])
    assert np.isnan(found[2])


def test_agreement_is_the_mean_over_those_that_can_be_compared() -> None:
    a = np.array([[1.0, 2, 3], [1, 2, 3], [1, 1, 1]])
    others = [np.array([[1.0, 2, 3], [np.nan] * 3, [1, 2, 3]]), np.array([[3.0, 2, 1], [3, 2, 1], [3, 2, 1]])]
    found = agreement_with(a, others)
    assert found[:2] == pytest.approx([0.0, -1.0])
    assert np.isnan(found[2])


def test_without_gold_the_others_joint_choice_is_the_measure() -> None:
    others = [np.array([[0.0, 5, 1], [3, 0, 0]]), np.array([[0.0, 1, 2], [9, 1, 0]])]
    wise, dull = np.array([[0.0, 9, 1], [1, 0, 0]]), np.array([[9.0, 0, 0], [0, 1, 0]])
    assert gain_by_others(wise, others).tolist() == [1.0, 0.0], "the student's first is right in the second"
    assert gain_by_others(dull, others).tolist() == [0.0, -1.0]


def test_a_measure_that_only_one_has_decides_nothing() -> None:
    def standing(name: str, consistency: float | None, gain: float) -> Standing:
        sure = None if consistency is None else Interval(consistency, 0, 1)
        return Standing(
            name, name, sure, "", Interval(0.5, 0, 1), Interval(gain, 0, 1), 0.0, 1, 0, None, None
        )

    placed = place_all([standing("low", 1.0, 0.1), standing("high", None, 0.3)])
    assert [s.name for s in placed] == ["high", "low"]
