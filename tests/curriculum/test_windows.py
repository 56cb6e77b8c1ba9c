"""Texts of classifiers are read a window at a time, whatever there is of them; and that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.corpus import blocks
from lmteach.corpus.texts import Texts
from lmteach.curriculum.supervision import label_documents
from lmteach.students import backbone, class_student, encode, room
from lmteach.students.class_student import logits_of
from lmteach.students.open_classifier import new_student

WINDOW = 8


@pytest.mark.parametrize("tuning", ["full", "frozen"])
def test_no_more_texts_than_a_window_are_ever_read_together(
    tuning: str, start: Any, minilm1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = json.dumps([{"model": str(minilm1), "max_tokens": 24, "precision": "fp32"}])
    keys = [f"student.tuning={tuning}", f"run.features={tmp_path}/features", "supervision=combined"]
    keys += [f"student.backbones={backbones}"] if tuning == "frozen" else []
    context, folder = start(*keys, "combine=concat", "corpus.n_extra=null")
    sizes: list[int] = []
    at = Texts.at

    def watched(texts: Texts, rows: Any) -> list[str]:
        sizes.append(len(rows))
        return at(texts, rows)

    def read() -> Any:
        (labelled,) = label_documents(context, folder)
        train, apart = labelled.split(0.2, seed=1)
        assert apart is not None
        assert context.corpus.test is not None
        return student.read(Texts([train.texts, apart.texts, Texts.of(context.corpus.test)]), context.console)

    student = new_student(context.recipe, context.corpus.labels.names)
    expected = logits_of(student, read(), device="cpu", precision="fp32")
    assert len(expected) == 60 + 30 + 20
    monkeypatch.setattr(Texts, "at", watched)
    for module in (backbone, class_student, encode, room):
        monkeypatch.setattr(module, "WINDOW", WINDOW)
    monkeypatch.setattr(blocks, "_READ_AT_ONCE", WINDOW)
    student.store = tmp_path / "other"  # of a frozen one, so that nothing is known of the texts
    found = logits_of(student, read(), device="cpu", precision="fp32")
    assert 1 < max(sizes) <= WINDOW
    np.testing.assert_allclose(found, expected, atol=2e-3)
