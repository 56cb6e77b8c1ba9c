"""What a finished run's documents were given: texts and positives, by the names of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmteach.errors import CorpusError
from lmteach.search.shortlist import Shortlist
from lmteach.teaching.annotations import Annotations

if TYPE_CHECKING:
    from lmteach.corpus.corpus import Documents
    from lmteach.curriculum.context import RunContext
    from lmteach.recipe.schema import Recipe
    from lmteach.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class EarlierLabels:
    """The annotated documents of a run's best cycle that had a positive.

    Attributes:
        documents: its training documents.
        positions: where the annotated ones stand in them.
        yes: their positives, as label ids of the corpus in use now.
    """

    documents: Documents
    positions: npt.NDArray[np.int64]
    yes: Sequence[npt.NDArray[np.int64]]

    def sample(
        self, n: int, *, without: set[str], seed: int
    ) -> tuple[list[str], list[npt.NDArray[np.int64]]]:
        """Return texts and positives of at most n documents, drawn by `seed`, none whose id is in `without`."""
        ids = self.documents.ids
        free = [i for i, position in enumerate(self.positions.tolist()) if ids[position] not in without]
        order = np.random.default_rng(seed).permutation(len(free))[:n]
        chosen = sorted(free[i] for i in order.tolist())
        return self.documents.texts(self.positions[chosen]), [self.yes[i] for i in chosen]


def read_earlier(run: RunFolder, recipe: Recipe, context: RunContext) -> EarlierLabels | None:
    """Read what a finished run trained its student on; None where its corpus or its files are gone.

    Args:
        run, recipe: the finished run.
        context: the one in use now, whose label ids the positives are given in.
    """
    from lmteach.corpus.load import load_corpus
    from lmteach.serving.run_verdicts import best_cycle

    cycle = best_cycle(run)
    files = [cycle / name for name in ("shortlist.npz", "annotations.npz")] if cycle is not None else []
    if not files or not all(file.is_file() for file in files):
        return None
    try:
        corpus = load_corpus(recipe.corpus, recipe.seed, Path.cwd())
    except CorpusError:
        return None
    positions, annotations = Shortlist.load(files[0]).positions_q, Annotations.load(files[1])
    ids = {name: i for i, name in enumerate(context.corpus.labels.names)}
    now = np.asarray([ids.get(name, -1) for name in corpus.labels.names], dtype=np.int64)
    kept, yes = [], []
    for row in annotations.with_positives.tolist():
        found = now[annotations.of(row)]
        if (found >= 0).any():
            kept.append(row)
            yes.append(np.sort(found[found >= 0]))
    return EarlierLabels(corpus.train, positions[kept], yes)
