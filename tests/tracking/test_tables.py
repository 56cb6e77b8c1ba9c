"""The tables at a run's end."""

from __future__ import annotations

import copy

import pytest

from lmteach.tracking.console import Console
from lmteach.tracking.tables import print_final, print_students

MEANS = {"p@1": 0.25, "p@3": 0.2, "r@10": 0.6, "ndcg@5": 0.3, "coverage@1": 1.0}
BETTER = {name: value + 0.1 for name, value in MEANS.items()}
FINAL = {
    "untuned": MEANS,
    "student": BETTER,
    "by_name": {"untuned": MEANS, "cycle 0": BETTER, "cycle 1": MEANS},
    "intervals": {
        name: {metric: [0.11, 0.77] for metric in MEANS} for name in ("untuned", "cycle 0", "cycle 1")
    },
    "gain": {name: {"difference": 0.1, "low": -0.02, "high": 0.2, "p_value": 0.031} for name in MEANS},
    "chosen": "cycle 0",
    "test_documents": 1234,
    "teacher": {
        "yes_rate": 0.25,
        "unread": 3,
        "answers": 4000,
        "p@1": 0.5,
        "student_p@1": 0.4,
        "candidates_recall": 0.9,
        "documents": 700,
    },
    "judgements": 12345,
    "from_store": 678,
    "seconds": 61.4,
}


def test_the_final_table_says_all_that_a_run_found(capsys: pytest.CaptureFixture[str]) -> None:
    print_final(Console(), FINAL, [0.61, 0.59])
    out = capsys.readouterr().out
    for said in (
        "1,234 held-out documents, 95% bootstrap intervals",
        "P@1",
        "R@10",
        "nDCG@5",
        "0.350 [0.110, 0.770]",
        "P@1 gained over the untuned student: +0.100 [-0.020, +0.200], p = 0.031",
        "teacher on 700 training documents: P@1 0.500 (untuned student: 0.400; 90.0% of their gold",
        "yes-rate 25.0%, unread 3 of 4,000; judgements made 12,345, from the store 678; 61 s",
    ):
        assert said in out
    assert "coverage" not in out
    rows = {line.split("  ")[1].strip(): line for line in out.splitlines() if line.startswith("  ")}
    assert rows["cycle 0 (best)"].rstrip().endswith("0.610")
    assert rows["cycle 1"].rstrip().endswith("0.590")
    assert rows["untuned"].rstrip().endswith("]"), "nobody judged the untuned student's dev documents"


def test_without_held_out_gold_or_answers_it_still_prints(capsys: pytest.CaptureFixture[str]) -> None:
    final = copy.deepcopy(FINAL)
    for key in ("untuned", "student", "by_name", "intervals", "gain", "chosen", "test_documents"):
        del final[key]
    final["teacher"] = {"yes_rate": None, "unread": 0, "answers": 0}
    print_final(Console(), final, [0.5])
    out = capsys.readouterr().out
    assert "yes-rate none, unread 0 of 0" in out
    assert "held-out" not in out


def test_a_metric_that_was_not_measured_has_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_students(
        Console(),
        {
            **FINAL,
            "chosen": "best",
            "by_name": {"untuned": MEANS, "best": BETTER},
            "intervals": dict.fromkeys(("untuned", "best"), FINAL["intervals"]["untuned"]),
        },
        {},
    )
    out = capsys.readouterr().out
    assert "P@5" not in out
    assert "(best)" not in out
