"""A classifier's run: tracked, kept document by document, reported beside what its paper says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lmteach.tracking.comparing import compare_runs
from lmteach.tracking.report.class_sections import class_columns, class_rows, label_rows
from lmteach.tracking.report.facts import gather
from lmteach.tracking.report.sections import headline
from lmteach.tracking.report.several import quoted_rows
from lmteach.tracking.run_folder import RunFolder
from lmteach.tracking.test_scores import TestScores

pytestmark = pytest.mark.usefixtures("own_cache")


def test_its_documents_are_kept_with_what_the_final_line_says(classifier_run: Path) -> None:
    final = RunFolder(classifier_run).events()[-1]
    scores = TestScores.load(classifier_run)
    for metric, value in scores.values["student"].items():
        assert value.mean() == pytest.approx(final["student"][metric], abs=1e-6), metric
    assert all(row.difference == 0 for row in compare_runs(classifier_run, classifier_run, resamples=20).rows)


def test_its_training_is_tracked(classifier_run: Path) -> None:
    with (classifier_run / "tracking/stage.csv").open(newline="") as file:
        [stage] = csv.DictReader(file)
    [logged] = [event for event in RunFolder(classifier_run).events() if event["event"] == "stage"]
    assert float(stage["loss"]) == pytest.approx(logged["loss"])
    assert gather(classifier_run).losses["stage-00"]


def test_the_report_says_what_there_is_and_nothing_else(
    classifier_run: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "c.html"
    status, _, err = call("report", classifier_run, "--output", out, "--json", tmp_path / "c.json")
    assert status == 0, err
    page = out.read_text()
    assert "Hardest documents" in page
    assert "Yes-rate by place" not in page
    assert "nan" not in page.lower().replace("finance", "")
    facts = json.loads((tmp_path / "c.json").read_text())[0]
    final = RunFolder(classifier_run).events()[-1]
    assert facts["students"]["student"]["accuracy"]["mean"] == final["student"]["accuracy"]
    status, text, err = call("report", classifier_run, "--text")
    assert status == 0, err
    assert "94.74" in text


def test_the_papers_row_stands_beside_the_runs_own_regime(classifier_run: Path) -> None:
    facts = gather(classifier_run)
    own = facts.chosen_metrics["accuracy"].mean
    assert quoted_rows(facts) == [["gold", "94.74", f"{100 * own:.2f}"], ["teacher", "93.53", ""]]


def test_each_class_stands_with_its_f1(classifier_run: Path) -> None:
    facts = gather(classifier_run)
    rows = class_rows(facts)
    final = RunFolder(classifier_run).events()[-1]
    assert [row[0] for row in rows] == [one["name"] for one in final["classes"]]
    assert [row[2] for row in rows if row[2]] == [
        f"{one['f1']:.3f}" for one in final["classes"] if one["f1"] == one["f1"]
    ]
    assert len(class_columns(facts)) == len(rows[0]) == 3, "a run on gold has no teacher's labels"
    assert label_rows(facts) == []


def test_a_teachers_labels_stand_by_part_and_class(classifier_run: Path) -> None:
    facts = gather(classifier_run, with_corpus=False)
    name = facts.final["classes"][0]["name"]
    train = {"documents": 1000, "accuracy": 0.812, "unread": 3, "share": {name: 0.25}, "missed": {name: 0.5}}
    facts.final = {**facts.final, "teacher": {"train": train, "extra": {"documents": 50}}}
    assert label_rows(facts) == [
        ["train", "1,000", "81.2%", "3", "0", "0"],
        ["extra", "50", "", "0", "0", "0"],
    ]
    assert class_rows(facts)[0][3:] == ["25.0%", "50.0%"]
    assert "0.812" in headline(facts)
