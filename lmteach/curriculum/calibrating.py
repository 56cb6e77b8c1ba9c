"""Where a cycle's annotation rule cuts: fitted on a few documents of known truth, kept in its folder.

    calibration.json  the fit: scale and bias to log-odds, the score at which the precision is reached

Scores stay as the teacher gave them; only the cutoff moves, so dev documents are judged by the same yes.
Shape legend: n documents, k candidates of each, m documents of known truth.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.context import RunContext
from lmteach.errors import RunError
from lmteach.metrics.ranking import find_hits
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import AnnotationRule
from lmteach.teaching.calibration import Calibration, calibrate
from lmteach.tracking.run_folder import read_json, write_json

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.curriculum.judging import JudgedShortlist

FILE = "calibration.json"


def calibrated_rule(
    context: RunContext,
    documents: Documents,
    shortlist: Shortlist,
    judged: JudgedShortlist,
    rule: AnnotationRule,
    folder: Path,
) -> AnnotationRule:
    """Return the rule with the cutoff that the recipe's `calibration` asks for; as it is where that is off.

    Args:
        documents: the training documents; `shortlist` and `judged` are about n of them.
        folder: the cycle's; a fit that lies there is not made again.

    Raises:
        RunError: no truth to fit on, or scores that the fit finds worthless.
    """
    if not context.recipe.calibration.documents:
        return rule
    path = folder / FILE
    if context.ranks.share(path.is_file()):
        fit = Calibration.from_dict(read_json(path))
    else:
        fit = fit_calibration(context, documents, shortlist, judged)
        context.ranks.first_alone(lambda: write_json(path, fit.to_dict()))
    cutoff = raw_cutoff(fit, rule.threshold, context.recipe.calibration.precision)
    context.console.say(
        f"calibration on {fit.n:,} answers ({fit.n_yes:,} right): yes above {cutoff:.3f}, "
        f"log loss {fit.loss_before:.3f} -> {fit.loss_after:.3f}"
    )
    return dataclasses.replace(rule, threshold=cutoff)


def raw_cutoff(fit: Calibration, threshold: float, precision: float | None) -> float:
    """Return the raw score above which an answer is a yes.

    Args:
        threshold: in calibrated log-odds; counts where `precision` is None.

    Raises:
        RunError: a higher score is no likelier to be right, or no score reaches the precision.
    """
    if not fit.informative:
        raise RunError(
            f"On {fit.n} answers a higher score of the teacher was no likelier to be right, "
            "so no cutoff tells yes from no.",
            where="calibration",
            mend="Raise calibration.documents, or try another prompt: `lmteach audit` compares them.",
        )
    if precision is None:
        return (threshold - fit.bias) / fit.scale
    if not np.isfinite(fit.threshold):
        raise RunError(
            f"No score reaches a precision of {precision:.0%} (95% confidence) on the {fit.n} answers of "
            f"known truth, of which {fit.n_yes} are right.",
            where="calibration",
            mend="Lower calibration.precision, or raise calibration.documents.",
        )
    return fit.threshold


def fit_calibration(
    context: RunContext, documents: Documents, shortlist: Shortlist, judged: JudgedShortlist
) -> Calibration:
    """Fit on some of the documents that the teacher judged.

    Raises:
        RunError: neither gold nor a stronger teacher tells the truth about them.
    """
    settings = context.recipe.calibration
    read_nk = judged.judged_nk & ~np.isnan(judged.scores_nk)
    rows = draw_rows(np.flatnonzero(read_nk.any(axis=1)), settings.documents, context.recipe.seed)
    if settings.teacher:
        right_mk, known_mk = _ask_stronger(context, documents, shortlist, rows, judged.label_ids_nk.shape[1])
    else:
        right_mk = _look_up(documents, shortlist, judged, rows)
        known_mk = np.ones_like(right_mk)
    usable_mk = known_mk & read_nk[rows]
    if not usable_mk.any():
        raise RunError("There is no answer of known truth to fit the calibration on.", where="calibration")
    return calibrate(
        judged.scores_nk[rows][usable_mk],
        right_mk[usable_mk],
        teacher=context.recipe.teacher["name"],
        method=settings.method,
        precision=settings.precision or 0.9,
    )


def draw_rows(rows: npt.NDArray[np.int64], n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return `n` of the rows, drawn by seed, in ascending order; all of them where there are fewer."""
    if n >= len(rows):
        return rows
    drawn = np.random.default_rng([seed, *b"calibration"]).choice(rows, size=n, replace=False)
    return np.sort(drawn)


def _look_up(
    documents: Documents, shortlist: Shortlist, judged: JudgedShortlist, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    if not documents.has_gold:
        raise RunError(
            "The training documents have no gold labels to calibrate the teacher on.",
            where="calibration",
            mend="Name a stronger teacher as calibration.teacher, or set calibration.documents=0.",
        )
    return find_hits(judged.label_ids_nk[rows], documents.gold.take(shortlist.positions_q[rows]))


def _ask_stronger(
    context: RunContext,
    documents: Documents,
    shortlist: Shortlist,
    rows: npt.NDArray[np.int64],
    k: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return where the stronger teacher says yes, and where it could be read; each [m, k]."""
    from lmteach.curriculum.judging import judge

    some = Shortlist(shortlist.positions_q[rows], shortlist.label_ids_qk[rows], shortlist.scores_qk[rows])
    with context.teacher(context.recipe.calibration.teacher) as teacher:
        said = judge(context, teacher, documents, some, k)
    read_mk = said.judged_nk & ~np.isnan(said.scores_nk)
    return read_mk & (np.nan_to_num(said.scores_nk) > 0), read_mk
