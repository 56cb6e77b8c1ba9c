"""The table at the end of a classifier's run: its numbers, and nothing made up where one is missing."""

from __future__ import annotations

from typing import Any

import pytest

from lmteach.tracking.class_tables import print_classifier
from lmteach.tracking.console import Console

STAGE = {"documents": 1200.0, "parameters": 25_485_058.0, "epochs": 7.0, "train_seconds": 3.25}


def printed(final: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    print_classifier(Console(quiet=True), final)
    return capsys.readouterr().out


def test_scores_stand_with_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    means = {"accuracy": 0.91234, "macro_f1": 0.5}
    out = printed(
        {
            "student": means,
            "by_name": {"student": means, "teacher": {"accuracy": 0.8}},
            "intervals": {"student": {"accuracy": [0.9, 0.93]}},
            "test_documents": 2189,
        },
        capsys,
    )
    assert "2,189 held-out documents" in out
    assert "0.9123 [0.9000, 0.9300]" in out
    assert "0.5000" in out
    assert any(line.split()[:2] == ["teacher", "0.8000"] for line in out.splitlines())
    assert "brier" not in out


def test_a_stage_says_what_it_cost_as_far_as_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    plain = printed({"stages": [STAGE]}, capsys)
    assert "stage 0: 1,200 texts, 25,485,058 trained parameters, 7 epochs in 3.2 s\n" in plain
    measured = {**STAGE, "peak_gib": 1.5, "joules": 1234.4, "best_epoch": 4.0, "validation_loss": 0.25}
    out = printed({"stages": [STAGE, measured]}, capsys)
    assert "stage 1: " in out
    assert "in 3.2 s, 1,234 J, peak memory 1.5 GiB, best epoch 5 by validation loss 0.2500" in out
