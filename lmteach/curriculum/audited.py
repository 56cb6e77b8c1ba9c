"""The verdicts that an audit looks at: those of a run's cycle, or made now for some documents of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.calibrating import fit_calibration, raw_cutoff
from lmteach.curriculum.context import RunContext, open_context
from lmteach.curriculum.judging import JudgedShortlist, judge
from lmteach.curriculum.labelling import recipe_rule
from lmteach.curriculum.open_run import read_run
from lmteach.curriculum.sample import draw_shortlist
from lmteach.errors import RunError
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import AnnotationRule, Annotations, choose_positives
from lmteach.teaching.audit import Verdicts, read_votes
from lmteach.tracking.run_folder import read_json

if TYPE_CHECKING:
    from lmteach.tracking.console import Console

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Audited:
    """Verdicts on training documents with all that they hang on.

    Attributes:
        context: the recipe at work; its store and budget serve what is judged for the audit.
        shortlist: the candidates, also those beyond the judged ones.
        verdicts: what the teacher said.
        rule: how its scores become yes, with the cutoff that was used; other teachers are read by the recipe's.
        source: where the verdicts come from, in words.
    """

    context: RunContext
    shortlist: Shortlist
    verdicts: Verdicts
    rule: AnnotationRule
    source: str

    def draw(self, n: int, purpose: str) -> Rows:
        """Return the rows of n judged documents, drawn with the run's seed; all where there are fewer."""
        rows = np.flatnonzero(self.verdicts.judged_nk.any(axis=1))
        if n >= len(rows):
            return rows
        drawn = np.random.default_rng([self.context.recipe.seed, *purpose.encode()])
        return np.sort(drawn.choice(rows, size=n, replace=False))

    def of_rows(self, rows: Rows) -> Verdicts:
        """Return the verdicts of some rows."""
        v = self.verdicts
        gold = None if v.gold is None else v.gold.take(rows)
        return Verdicts(v.label_ids_nk[rows], v.scores_nk[rows], v.judged_nk[rows], v.votes_nk[rows], gold)

    def shortlist_of(self, rows: Rows) -> Shortlist:
        """Return the candidates of some rows."""
        s = self.shortlist
        return Shortlist(s.positions_q[rows], s.label_ids_qk[rows], s.scores_qk[rows])


def audit_run(run: Path, console: Console, cycle: int | None = None) -> Audited:
    """Open the verdicts of a run's cycle, by default the last that has any.

    Raises:
        RunError: no run, no such cycle, no verdicts yet, or a corpus that is no longer the run's.
    """
    folder, recipe = read_run(run)
    cycles = {
        int(path.parent.name): path.parent
        for path in sorted((run / "cycles").glob("[0-9][0-9]/verdicts.npz"))
        if (path.parent / "shortlist.npz").is_file()
    }
    if not cycles:
        raise RunError(
            "This run has no verdicts yet.",
            where=str(run),
            mend="Go on with it (`lmteach fit --resume`), or judge some documents first: "
            f"`lmteach audit --recipe {folder.recipe} --documents 200`.",
        )
    number = max(cycles) if cycle is None else cycle
    if number not in cycles:
        listed = ", ".join(map(str, cycles))
        raise RunError(
            f"Cycle {number} of this run has no verdicts; there are cycles {listed}.", where=str(run)
        )
    context = open_context(recipe, console)
    if folder.manifest.is_file() and read_json(folder.manifest).get("corpus") != context.corpus.fingerprint:
        raise RunError(
            "The corpus is no longer the one that this run was made with, so its verdicts are about other texts.",
            where=str(run),
            mend="Put the files back as they were, or begin a new run.",
        )
    shortlist = Shortlist.load(cycles[number] / "shortlist.npz")
    judged = JudgedShortlist.load(cycles[number] / "verdicts.npz")
    rule, made = recipe_rule(recipe), cycles[number] / "annotations.npz"
    annotations = Annotations.load(made) if made.is_file() else None
    if annotations is not None and rule.rule == "threshold":
        rule = AnnotationRule("threshold", annotations.counts.cutoff)
    return _audited(context, shortlist, judged, rule, f"cycle {number} of {run}", annotations)


def audit_recipe(context: RunContext, n_documents: int) -> Audited:
    """Judge the candidates of some of a recipe's first documents, as its first cycle would; the store keeps them.

    Raises:
        RunError: the recipe warms its student up in a folder where a run is going on.
        TeacherError: the teacher cannot answer.
    """
    recipe, corpus = context.recipe, context.corpus
    shortlist = draw_shortlist(context, n_documents, "audit")
    with context.teacher() as teacher:
        judged = judge(context, teacher, corpus.train, shortlist, recipe.search.n_judged)
    rule = recipe_rule(recipe)
    if recipe.calibration.documents:
        fit = fit_calibration(context, corpus.train, shortlist, judged)
        rule = AnnotationRule("threshold", raw_cutoff(fit, rule.threshold, recipe.calibration.precision))
    return _audited(context, shortlist, judged, rule, f"{len(shortlist):,} documents of {recipe.name}")


def _audited(
    context: RunContext,
    shortlist: Shortlist,
    judged: JudgedShortlist,
    rule: AnnotationRule,
    source: str,
    annotations: Annotations | None = None,
) -> Audited:
    ids, scores, asked = judged.label_ids_nk, judged.scores_nk, judged.judged_nk
    made = choose_positives(scores, ids.astype(np.int64), asked, rule) if annotations is None else annotations
    votes = read_votes(made, scores, ids, asked)
    documents = context.corpus.train
    gold = documents.gold.take(shortlist.positions_q) if documents.has_gold else None
    return Audited(context, shortlist, Verdicts(ids, scores, asked, votes, gold), rule, source)
