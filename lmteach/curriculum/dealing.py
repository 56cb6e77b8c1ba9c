"""Rows dealt in turn, equal texts together: no text is asked about twice, nor by two at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lmteach.students.hash_rows import HASH_BYTES, Hashes

Rows = npt.NDArray[np.int64]


def deal(texts: Sequence[Iterable[str]], n_parts: Sequence[int]) -> list[list[Rows]]:
    """Deal each split's rows to its parts in turn, equal texts to the same part, whichever split they are of.

    Texts are read once and not held.

    Args:
        texts: of each split.
        n_parts: how many parts each split gets, 0 where it has no rows.

    Returns:
        of each part the rows of each split, in order: a later split's rows in an earlier one's part are those with
        its texts.
    """
    hashes = [Hashes.of(column) for column in texts]
    assert all(n or not len(own) for own, n in zip(hashes, n_parts, strict=True))
    starts = np.cumsum([0, *map(len, hashes)])
    keys_n = np.frombuffer(b"".join(h.raw for h in hashes), f"V{HASH_BYTES}")
    _, first, group_n = np.unique(keys_n, return_index=True, return_inverse=True)
    order = np.argsort(first)
    owner = np.searchsorted(starts, first[order], side="right") - 1
    turn = np.arange(len(order)) - np.searchsorted(owner, owner)
    part_g = np.empty(len(order), np.int64)
    part_g[order] = np.cumsum([0, *n_parts])[owner] + turn % np.asarray(n_parts, np.int64)[owner]
    columns = np.split(part_g[group_n], starts[1:-1])
    return [[np.flatnonzero(column == part) for column in columns] for part in range(sum(n_parts))]
