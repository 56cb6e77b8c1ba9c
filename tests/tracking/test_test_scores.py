"""Scores of single test documents: kept whole, read back the same, refused when damaged; runs compared by them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.corpus.gold import Gold
from lmteach.errors import RunError
from lmteach.metrics.ranking import score_ranking
from lmteach.metrics.values import PerDocument
from lmteach.tracking.comparing import compare_runs
from lmteach.tracking.test_scores import FILE, TestScores, name_documents

Finished = tuple[Path, dict[str, Any]]


def some_scores(seed: int, n: int = 40, n_labels: int = 9, documents: str = "d") -> TestScores:
    """Scores of random rankings; the gold is the same for every seed."""
    gold_rng, rng = np.random.default_rng(0), np.random.default_rng(seed)
    sizes = gold_rng.integers(0, 4, n)
    rows = [np.sort(gold_rng.choice(n_labels, size, replace=False)) for size in sizes]
    gold = Gold(np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(rows))
    ids = np.argsort(rng.random((n, n_labels)), axis=1)[:, :5].astype(np.int32)
    scored = score_ranking(ids, gold, [1, 5], propensities_l=np.linspace(0.1, 1, n_labels))
    return TestScores(
        documents=documents,
        n_documents=n,
        chosen="cycle 0",
        values={"cycle 0": scored.values},
        rows_m=np.flatnonzero(sizes > 0),
        gold=gold,
        label_ids={"cycle 0": ids},
        scores={"cycle 0": rng.random(ids.shape).astype(np.float32)},
        label_counts_l=np.arange(n_labels),
    )


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    scores = some_scores(1)
    scores.save(tmp_path)
    back = TestScores.load(tmp_path)
    for name, value in scores.values["cycle 0"].items():
        other = back.values["cycle 0"][name]
        assert other.numerators == pytest.approx(value.numerators, abs=1e-6)
        assert (other.denominators is None) == (value.denominators is None)
        assert other.mean() == pytest.approx(value.mean(), abs=1e-6)
    assert np.array_equal(back.label_ids["cycle 0"], scores.label_ids["cycle 0"])
    assert np.array_equal(back.gold.ids, scores.gold.ids)
    assert np.array_equal(back.rows_m, scores.rows_m)
    assert (back.documents, back.n_documents, back.chosen) == ("d", 40, "cycle 0")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@given(st.integers(1, 400))
@settings(max_examples=25)
def test_a_file_cut_short_is_one_clear_error(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    some_scores(1).save(folder)
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: min(kept, len(whole) - 1)])
    with pytest.raises(RunError, match="cannot be read"):
        TestScores.load(folder)


def test_a_run_without_them_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lmteach evaluate"):
        TestScores.load(tmp_path)


def test_a_finished_run_keeps_what_its_final_line_says(finished_run: Finished) -> None:
    folder, final = finished_run
    scores = TestScores.load(folder)
    assert scores.chosen == final["chosen"]
    for student, line in (("untuned", final["untuned"]), (scores.chosen, final["student"])):
        for metric, value in scores.values[student].items():
            assert value.mean() == pytest.approx(line[metric], abs=1e-6), metric
    assert {"psp@1", "psndcg@5"} <= scores.values["untuned"].keys(), "training gold gives propensities"
    assert scores.label_counts_l.sum() == 240, "two labels on each of 120 training documents, dev among them"


def test_names_of_documents_hang_on_ids_gold_and_labels() -> None:
    gold = Gold(np.array([0, 1, 2]), np.array([0, 1]))
    base = name_documents(["a", "b"], gold, ["x", "y"])
    assert base == name_documents(["a", "b"], gold, ["x", "y"])
    assert base != name_documents(["a", "c"], gold, ["x", "y"])
    assert base != name_documents(["ab", ""], gold, ["x", "y"])
    assert base != name_documents(["a", "b"], Gold(gold.indptr, np.array([1, 1])), ["x", "y"])
    assert base != name_documents(["a", "b"], gold, ["x", "z"])


def keep(folder: Path, scores: TestScores) -> Path:
    folder.mkdir(exist_ok=True)
    scores.save(folder)
    return folder


def test_a_run_against_itself_differs_by_nothing(tmp_path: Path) -> None:
    a = keep(tmp_path / "a", some_scores(1))
    for row in compare_runs(a, a, resamples=50).rows:
        assert (row.difference, row.low, row.high, row.p_value) == (0, 0, 0, 1)
        assert (row.better, row.worse) == (0, 0)


def test_a_better_run_is_found_better_and_the_order_turns_the_sign(tmp_path: Path) -> None:
    scores = some_scores(1)
    n = len(scores.rows_m)
    worse = dataclasses.replace(scores, values={"cycle 0": {"p@1": PerDocument(np.zeros(n))}})
    better = dataclasses.replace(
        scores, values={"cycle 0": {"p@1": PerDocument((np.arange(n) % 4 > 0) * 1.0)}}
    )
    a, b = keep(tmp_path / "a", worse), keep(tmp_path / "b", better)
    [up] = compare_runs(a, b, resamples=500).rows
    [down] = compare_runs(b, a, resamples=500).rows
    right = int((np.arange(n) % 4 > 0).sum())
    assert up.difference == pytest.approx(right / n)
    assert down.difference == pytest.approx(-right / n)
    assert (up.better, up.worse) == (right, 0)
    assert (down.better, down.worse) == (0, right)
    assert up.low > 0.4
    assert up.p_value < 0.01


def test_runs_on_other_documents_are_refused(tmp_path: Path) -> None:
    a = keep(tmp_path / "a", some_scores(1))
    fewer = keep(tmp_path / "b", some_scores(1, n=39, documents="e"))
    with pytest.raises(RunError, match=r"40 test documents and 39.*cannot be compared") as caught:
        compare_runs(a, fewer)
    assert "lmteach evaluate" in str(caught.value)
    other = keep(tmp_path / "c", some_scores(1, documents="f"))
    with pytest.raises(RunError, match="not the same ones"):
        compare_runs(a, other)


def test_compare_on_the_command_line(
    finished_run: Finished, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder, final = finished_run
    status, out, err = call(
        "compare", folder, folder, "--student", "untuned", "chosen", "--json", tmp_path / "d.json"
    )
    assert status == 0, err
    rows = {row["metric"]: row for row in json.loads((tmp_path / "d.json").read_text())["rows"]}
    assert rows["p@1"]["difference"] == pytest.approx(final["gain"]["p@1"]["difference"], abs=1e-6)
    assert "60 test documents" in out
    status, _, err = call("compare", folder, tmp_path)
    assert status == 1
    assert "Traceback" not in err
