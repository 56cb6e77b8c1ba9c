"""The dev documents of a finished run as truth to fit thresholds on: what the teacher said of the student's labels.

Shape legend: n documents, k judged labels of each.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmteach.curriculum.judging import JudgedShortlist
from lmteach.search.shortlist import Shortlist
from lmteach.serving.thresholds import Candidates, ScoreCalibration, Targets, fit_calibration
from lmteach.teaching.annotations import Annotations

if TYPE_CHECKING:
    from lmteach.recipe.schema import Recipe
    from lmteach.serving.thresholds import Mask
    from lmteach.tracking.run_folder import RunFolder


def calibrate_run(folder: RunFolder, recipe: Recipe, targets: Targets) -> ScoreCalibration | None:
    """Fit a run's student to its teacher's verdicts on dev documents; None where the run has none."""
    cycle = best_cycle(folder)
    if cycle is None:
        return None
    files = [cycle / name for name in ("dev_shortlist.npz", "dev_verdicts.npz", "annotations.npz")]
    if not all(file.is_file() for file in files):
        return None
    shortlist, judged = Shortlist.load(files[0]), JudgedShortlist.load(files[1])
    cutoff = Annotations.load(files[2]).counts.cutoff
    right_nk = affirmed(judged, recipe.annotation.rule, cutoff)
    known_nk = judged.judged_nk & ~np.isnan(judged.scores_nk)
    k = judged.scores_nk.shape[1]
    candidates = Candidates(shortlist.scores_qk[:, :k], known_nk, right_nk, int(right_nk.sum()))
    teacher = recipe.teacher.get("name", "teacher")
    who = (
        "gold labels (the teacher is `oracle`)"
        if teacher == "oracle"
        else f"the verdicts of its teacher (`{teacher}`)"
    )
    fitted_on = (
        f"{who} on the student's first {k} labels of {len(shortlist):,} dev documents (none trained on)"
    )
    return fit_calibration(candidates, fitted_on, targets)


def affirmed(judged: JudgedShortlist, rule: str, cutoff: float) -> Mask:
    """Return which judged labels count as right, by the rule that made the run's pseudo-labels.

    Under `top`, a document's best-scored label; its lead does not matter here, since every document has a best.
    """
    known_nk = judged.judged_nk & ~np.isnan(judged.scores_nk)
    scores_nk = np.where(known_nk, judged.scores_nk, -np.inf)
    if rule != "top":
        return np.asarray(scores_nk > cutoff) & known_nk
    best = scores_nk.max(axis=1, keepdims=True) if scores_nk.shape[1] else scores_nk
    return np.asarray(scores_nk == best) & known_nk


def best_cycle(folder: RunFolder) -> Path | None:
    """Return the folder of the cycle whose student the run kept; None where it is not known."""
    finals = [event for event in folder.events() if event.get("event") == "final"]
    number = finals[-1].get("best_cycle") if finals else None
    if number is None:  # a run that is not over keeps the student of the cycle with the best mark
        marks = {e["cycle"]: e["dev_p1"] for e in folder.events() if e.get("event") == "cycle"}
        if not marks:
            return None
        number = max(sorted(marks), key=lambda cycle: -math.inf if math.isnan(marks[cycle]) else marks[cycle])
    path = folder.path / "cycles" / f"{number:02d}"
    return path if path.is_dir() else None
