"""Some of a recipe's first documents with the candidates of its first student, to try teachers on."""

from __future__ import annotations

import numpy as np

from lmteach.curriculum.ahead import begin_student
from lmteach.curriculum.context import RunContext
from lmteach.curriculum.shortlisting import build_index, find_candidates
from lmteach.search.shortlist import Shortlist


def draw_shortlist(context: RunContext, n_documents: int, purpose: str) -> Shortlist:
    """Return the candidates of up to n of the documents that the first cycle would label.

    Args:
        purpose: with the recipe's seed it decides which; another purpose draws others.

    Raises:
        RunError: the recipe warms its student up in a folder where a run is going on.
    """
    positions = context.first_positions()
    if n_documents < len(positions):
        rng = np.random.default_rng([context.recipe.seed, *purpose.encode()])
        positions = np.sort(rng.choice(positions, size=n_documents, replace=False))
    encoder = begin_student(context)
    return find_candidates(context, encoder, build_index(context, encoder), context.corpus.train, positions)
