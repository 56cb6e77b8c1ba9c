"""Which documents train, which pick the best cycle, which test: drawn by seed, and checked to be apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.corpus.documents import Documents
from lmteach.errors import CorpusError, RunError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions among n documents, each ascending."""

    train: Rows
    dev: Rows


def draw_split(n: int, n_train: int | None, n_dev: int, seed: int) -> Split:
    """Draw `n_train` documents to train on and `n_dev` others by one seeded shuffle.

    Training documents come from its front and dev from its end, so that a greater `n_train` contains the
    smaller one and neither number moves the other's documents.

    Args:
        n: documents there are.
        n_train: documents to train on; all but the dev documents if None.
        n_dev: documents that pick the best cycle.
        seed: the run's seed.

    Raises:
        CorpusError: there are too few documents.
    """
    if n_dev < 0:
        raise CorpusError(f"corpus.n_dev is {n_dev}.", where="corpus.n_dev", mend="Set it to 0 or more.")
    if n < n_dev + 1 or (n_train is not None and n < n_train + n_dev):
        wanted = f"{n_train} training and {n_dev}" if n_train is not None else f"{n_dev}"
        raise CorpusError(
            f"There are {n} training documents, too few to draw {wanted} dev documents from them.",
            where="corpus.n_train, corpus.n_dev",
            mend=f"Lower corpus.n_dev{'' if n_train is None else ' or corpus.n_train'} "
            f"so that both together are at most {n}, with one left to train on.",
        )
    if n_train is not None and n_train < 1:
        raise CorpusError(f"corpus.n_train is {n_train}; nothing would be learned.", where="corpus.n_train")
    shuffled = _shuffle(n, seed, "train")
    train = shuffled[: n - n_dev if n_train is None else n_train]
    return Split(np.sort(train), np.sort(shuffled[n - n_dev :]))


def draw_test(n: int, n_test: int | None, seed: int) -> Rows:
    """Draw `n_test` of n test documents by seed, or all if None.

    Raises:
        CorpusError: there are fewer.
    """
    return _draw(n, n_test, seed, "test", f"{n} test documents")


def draw_extra(n: int, n_extra: int | None, seed: int) -> Rows:
    """Draw `n_extra` of n unlabelled documents by seed, or all if None; a greater number contains a smaller one's.

    Raises:
        CorpusError: there are fewer.
    """
    return _draw(n, n_extra, seed, "extra", f"{n} unlabelled documents")


def _draw(n: int, n_wanted: int | None, seed: int, split: str, there_are: str) -> Rows:
    if n_wanted is None:
        return np.arange(n, dtype=np.int64)
    if not 1 <= n_wanted <= n:
        key = f"corpus.n_{split}"
        raise CorpusError(f"{key} is {n_wanted}, of {there_are}.", where=key)
    return np.sort(_shuffle(n, seed, split)[:n_wanted])


def _shuffle(n: int, seed: int, purpose: str) -> Rows:
    return np.random.default_rng([seed, *purpose.encode()]).permutation(n).astype(np.int64)


def check_apart(split: Split, train: Documents, dev: Documents) -> None:
    """Make sure that no dev document is trained on, by position and by id.

    Raises:
        RunError: one is.
    """
    shared_rows = np.intersect1d(split.train, split.dev)
    if len(shared_rows):
        raise RunError(
            f"{len(shared_rows)} documents are in both train and dev, first number {shared_rows[0]}."
        )
    dev_ids = set(dev.ids)
    shared_ids = [id_ for id_ in train.ids if id_ in dev_ids]
    if shared_ids:
        raise RunError(f"{len(shared_ids)} document ids are in both train and dev, first '{shared_ids[0]}'.")
