"""Calibration in a cycle: what it is fitted on, where it cuts, and that a resumed cycle cuts there too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.corpus.corpus import Corpus, LabelSet
from lmteach.corpus.documents import Documents
from lmteach.curriculum.calibrating import FILE, calibrated_rule, draw_rows
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.judging import JudgedShortlist
from lmteach.errors import LmteachError, RecipeError, RunError
from lmteach.metrics.ranking import find_hits
from lmteach.recipe.check import check_recipe
from lmteach.recipe.load import load_recipe
from lmteach.recipe.schema import CalibrationSection, Recipe
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import AnnotationRule, Annotations
from lmteach.tracking.console import Console
from lmteach.types import Document

N, K, L = 200, 5, 20
RULE = AnnotationRule("threshold", 0.0)


class Case:
    """A cycle whose teacher scores right candidates around 3 and wrong ones around 1: 0 is no good cutoff."""

    def __init__(self, gold: bool = True, upside_down: bool = False, **calibration: Any) -> None:
        rng = np.random.default_rng(4)
        self.ids = np.stack([rng.choice(L, size=K, replace=False) for _ in range(N)]).astype(np.int32)
        labels = [tuple(sorted(row[rng.random(K) < 0.4].tolist())) for row in self.ids]
        documents = [Document(f"d{i}", f"text {i}", own if gold else None) for i, own in enumerate(labels)]
        self.documents = Documents.of(documents)
        names = tuple(f"label {i}" for i in range(L))
        corpus = Corpus("case", LabelSet(names, names), self.documents, None, None, "f")
        recipe = Recipe(name="case", calibration=CalibrationSection(**calibration))
        recipe.teacher = {"name": "random"}
        self.context = RunContext(recipe, corpus, Console(quiet=True))
        self.right = np.array([[i in own for i in row] for row, own in zip(self.ids, labels, strict=True)])
        scores = np.where(self.right != upside_down, 3.0, 1.0) + rng.normal(scale=0.7, size=self.ids.shape)
        self.judged = JudgedShortlist(self.ids, scores.astype(np.float32), np.ones_like(self.right))
        positions = np.arange(N, dtype=np.int64)
        self.shortlist = Shortlist(positions, self.ids, np.zeros(self.ids.shape, np.float32))

    def rule(self, folder: Path, rule: AnnotationRule = RULE) -> AnnotationRule:
        return calibrated_rule(self.context, self.documents, self.shortlist, self.judged, rule, folder)

    def precision(self, cutoff: float) -> float:
        return float(self.right[self.judged.scores_nk > cutoff].mean())


def test_off_by_default(tmp_path: Path) -> None:
    assert Case().rule(tmp_path) is RULE
    assert not list(tmp_path.iterdir())
    assert Recipe().calibration.documents == 0


def test_the_cutoff_reaches_the_precision(tmp_path: Path) -> None:
    case = Case(documents=100, precision=0.9)
    cutoff = case.rule(tmp_path).threshold
    assert case.precision(0.0) < 0.5
    assert case.precision(cutoff) >= 0.88
    strict = Case(documents=100, precision=0.97).rule(tmp_path / "..").threshold
    assert strict > cutoff


def test_without_a_precision_the_threshold_is_in_log_odds(tmp_path: Path) -> None:
    case = Case(documents=N, precision=None)
    even = case.rule(tmp_path).threshold
    assert 1.5 < even < 2.5, "where right and wrong are equally likely, about halfway"
    likelier = Case(documents=N, precision=None).rule(tmp_path, AnnotationRule("threshold", 2.0)).threshold
    assert likelier > even
    near = np.abs(case.judged.scores_nk - even) < 0.3
    assert 0.3 < case.right[near].mean() < 0.7


def test_a_resumed_cycle_cuts_where_it_did(tmp_path: Path) -> None:
    first = Case(documents=60).rule(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept["n"] == 60 * K
    changed = Case(documents=60)
    changed.judged = JudgedShortlist(changed.ids, changed.judged.scores_nk + 5, changed.judged.judged_nk)
    assert changed.rule(tmp_path) == first


def test_only_the_drawn_documents_gold_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, used = Case(documents=7), []
    original = find_hits

    def spy(ids: Any, gold: Any) -> Any:
        used.append(len(gold))
        return original(ids, gold)

    monkeypatch.setattr("lmteach.curriculum.calibrating.find_hits", spy)
    case.context.recipe.calibration.precision = None
    case.rule(tmp_path)
    assert used == [7]
    assert len(draw_rows(np.arange(50), 7, 1)) == 7
    assert draw_rows(np.arange(50), 7, 1).tolist() == draw_rows(np.arange(50), 7, 1).tolist()
    assert draw_rows(np.arange(5), 7, 1).tolist() == [0, 1, 2, 3, 4]


def test_unread_answers_are_left_out(tmp_path: Path) -> None:
    case = Case(documents=N, precision=None)
    scores = case.judged.scores_nk.copy()
    scores[:, 0] = np.nan
    case.judged = JudgedShortlist(case.ids, scores, case.judged.judged_nk)
    case.rule(tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["n"] == N * (K - 1)


def test_a_stronger_teacher_tells_the_truth(tmp_path: Path) -> None:
    by_gold = Case(documents=80).rule(tmp_path).threshold
    teacher = {"name": "oracle"}
    case = Case(documents=80, teacher=teacher)
    (tmp_path / "b").mkdir()
    assert case.rule(tmp_path / "b").threshold == pytest.approx(by_gold)
    assert case.context.counters.made == 80 * K, "it is asked about the drawn documents alone"


def test_no_truth_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no gold labels[\s\S]*calibration\.teacher"):
        Case(gold=False, documents=10).rule(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_teacher_that_is_worse_than_chance(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no likelier to be right"):
        Case(documents=100, upside_down=True).rule(tmp_path)


def test_a_precision_that_no_score_reaches(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"No score reaches a precision of 99%[\s\S]*calibration\.documents"):
        Case(documents=4, precision=0.99).rule(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["calibration.documents=-1"], "calibration.documents = -1"),
        (["calibration.documents=9", "calibration.precision=1.0"], "calibration.precision = 1.0"),
        (["calibration.documents=9", "annotation.rule=top"], "changes nothing under annotation.rule = top"),
        (["calibration.teacher.name=oracle"], "calibration.documents = 0 asks it nothing"),
        (["calibration.documents=9", "calibration.method=plat"], "plat"),
        (["calibration.documents=9", "calibration.teacher={name: orakle}"], "'oracle'"),
        (["calibration.documents=9", "calibration.teacher={name: oracle, nois: 1}"], "'noise'"),
        (["calibration.document=9"], "'calibration.documents'|'documents'"),
    ],
)
def test_wrong_keys_are_named(overrides: Sequence[str], said: str) -> None:
    with pytest.raises(LmteachError, match=said):
        check_recipe(load_recipe("lmtx_debtags.yaml", ["annotation.rule=threshold", *overrides]).recipe)


def test_a_right_recipe_passes() -> None:
    keys = ["annotation.rule=threshold", "calibration.documents=9", "calibration.teacher.name=oracle"]
    recipe = load_recipe("lmtx_debtags.yaml", keys).recipe
    check_recipe(recipe)
    assert recipe.calibration.teacher["noise"] == 0.0, "the teacher's own defaults are filled in"


def test_a_run_is_cut_by_it(
    call: Callable[..., tuple[int, str, str]], recipe_file: Path, tmp_path: Path
) -> None:
    keys = [
        "calibration.documents=60",
        "calibration.precision=0.8",
        "curriculum.cycles=2",
        "teacher.noise=0.05",
    ]
    status, _, err = call("fit", "--recipe", recipe_file, *keys)
    assert status == 0, err
    assert "calibration on 720 answers" in err
    for cycle in sorted((tmp_path / "run" / "cycles").iterdir()):
        kept = json.loads((cycle / FILE).read_text())
        counts = Annotations.load(cycle / "annotations.npz").counts
        assert counts.cutoff == pytest.approx(kept["threshold"])


def test_nothing_else_was_meant() -> None:
    with pytest.raises(RecipeError):
        check_recipe(load_recipe("lmtx_quickstart.yaml", ["calibration.documents=5"]).recipe)
