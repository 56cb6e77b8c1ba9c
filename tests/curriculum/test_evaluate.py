"""A teacher's verdicts against gold: best-scored candidate, what it had to beat, and the ceiling."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.corpus.gold import Gold
from lmteach.curriculum.evaluate import score_teacher
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.tracking.test_scores import TestScores

NAN = float("nan")


def gold(*rows: list[int]) -> Gold:
    return Gold(np.cumsum([0, *map(len, rows)]), np.array([i for row in rows for i in row], dtype=np.int64))


def verdicts(ids: list[list[int]], scores: list[list[float]]) -> JudgedShortlist:
    array = np.array(scores, dtype=np.float32)
    return JudgedShortlist(np.array(ids, np.int32), array, ~np.isneginf(array))


def test_figures_by_hand() -> None:
    found = score_teacher(
        verdicts(
            [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3]],
            [[0.1, 0.9, 0.2], [5, 1, 0], [NAN, 0.2, 0.1], [3, 2, 1]],
        ),
        gold([2, 3], [5], [7], []),  # the last has no gold, so it does not count
    )
    assert found is not None
    assert found.n_documents == 3
    assert found.p1 == pytest.approx(1 / 3)  # 2 is gold; 4 is not; 8 is not, and 7 could not be read
    assert found.student_p1 == pytest.approx(1 / 3)
    assert found.found == 1.0  # 2, 3; 5; 7: all four gold labels were candidates


def test_gold_beyond_the_shortlist_lowers_the_ceiling() -> None:
    found = score_teacher(verdicts([[1, 2]], [[1, 0]]), gold([1, 50, 60, 70]))
    assert found is not None
    assert (found.p1, found.found) == (1.0, 0.25)


def test_documents_that_were_not_judged_do_not_count() -> None:
    found = score_teacher(verdicts([[1], [2]], [[1.0], [-np.inf]]), gold([1], [9]))
    assert found is not None
    assert (found.n_documents, found.p1) == (1, 1.0)


def test_without_a_document_that_has_both_there_is_no_score() -> None:
    assert score_teacher(verdicts([[1], [2]], [[NAN], [-np.inf]]), gold([1], [2])) is None
    assert score_teacher(verdicts([[1]], [[1.0]]), gold([])) is None


def test_a_run_weighs_hits_by_propensities_of_the_whole_training_split(
    finished_run: tuple[Path, dict[str, Any]], desks: Path
) -> None:
    """Dev documents count too: how often a label was recorded does not hang on what a run learns from."""
    folder, final = finished_run
    notes = [json.loads(line) for line in (desks / "train.jsonl").read_text().splitlines()]
    counts = np.bincount([i for note in notes for i in note["labels"]], minlength=12)
    c = (math.log(len(notes)) - 1) * (1.5 + 1) ** 0.55
    weight = 1 + c * (counts + 1.5) ** -0.55
    scores = TestScores.load(folder)
    assert scores.label_counts_l.tolist() == counts.tolist()
    ids = scores.label_ids[scores.chosen]
    earned = best = 0.0
    for row in range(scores.n_documents):
        gold = scores.gold.of(row).tolist()
        earned += sum(weight[i] for i in ids[row, :3].tolist() if i in gold)
        best += sum(sorted((weight[i] for i in gold), reverse=True)[:3])
    assert final["student"]["psp@3"] == pytest.approx(earned / best)
