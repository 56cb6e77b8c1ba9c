"""A cycle's labelling, opened again from its files: shortlist, verdicts, votes, and gold where it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import Annotations
from lmteach.teaching.audit import Verdicts, read_votes

if TYPE_CHECKING:
    from lmteach.corpus.gold import Gold


@dataclass(frozen=True)
class JudgedCycle:
    """What was found and said for one cycle's training documents."""

    number: int
    shortlist: Shortlist
    verdicts: Verdicts
    annotations: Annotations


def open_cycle(folder: Path, number: int, gold: Gold | None = None) -> JudgedCycle | None:
    """Open a cycle's folder; None where its labelling is not whole.

    Args:
        gold: of all training documents, in the order of the run's corpus.

    Raises:
        RunError: a file is damaged.
    """
    names = ("shortlist.npz", "verdicts.npz", "annotations.npz")
    if not all((folder / name).is_file() for name in names):
        return None
    from lmteach.curriculum.judging import JudgedShortlist

    shortlist = Shortlist.load(folder / names[0])
    judged = JudgedShortlist.load(folder / names[1])
    annotations = Annotations.load(folder / names[2])
    votes_nk = read_votes(annotations, judged.scores_nk, judged.label_ids_nk, judged.judged_nk)
    right = None if gold is None else gold.take(shortlist.positions_q)
    ids_nk = judged.label_ids_nk.astype(np.int32)
    verdicts = Verdicts(ids_nk, judged.scores_nk, judged.judged_nk, votes_nk, right)
    return JudgedCycle(number, shortlist, verdicts, annotations)
