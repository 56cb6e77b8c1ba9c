"""What every searcher asks of vectors before it uses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmteach.errors import LmteachError
from lmteach.search.protocol import Vectors

_ROWS = 1 << 14  # rows looked at in one go: a memory-mapped file is checked without being held
_GREATEST = 1e15  # products of larger numbers may overflow float32


def checked_labels(vectors: Any) -> Vectors:
    """Return label vectors as float32 [l, D], after the checks of `Searcher.build`.

    Raises:
        LmteachError: not two-dimensional, without a row or a column, not numbers, or not finite.
    """
    vectors_lD = _checked(vectors, "label vectors")
    if not vectors_lD.size:
        raise LmteachError(f"There are no label vectors to search: their shape is {vectors_lD.shape}.")
    return vectors_lD


def checked_queries(queries: Any, dim: int, k: int) -> Vectors:
    """Return queries as float32 [q, D]; no query at all is allowed.

    Raises:
        LmteachError: not two-dimensional, of another width than the labels, not finite, or k below 1.
    """
    if k < 1:
        raise LmteachError(f"A search for {k} labels finds none: k must be 1 or more.")
    queries_qD = _checked(queries, "query vectors")
    if queries_qD.shape[1] != dim:
        raise LmteachError(
            f"The query vectors are {queries_qD.shape[1]} wide, but the label vectors {dim}.",
            mend="Documents and labels must be encoded by the same encoder.",
        )
    return queries_qD


def not_built(name: str) -> LmteachError:
    """Return the error for a search before anything was indexed."""
    return LmteachError(f"The {name} searcher holds no labels yet.", mend="Call `build` or `load` first.")


def _checked(vectors: Any, what: str) -> Vectors:
    array = np.asarray(vectors)
    if array.ndim != 2:
        raise LmteachError(
            f"The {what} have {array.ndim} dimensions; they must be a table of rows and columns."
        )
    if array.dtype.kind not in "fiu":
        raise LmteachError(f"The {what} are of type {array.dtype}; they must be real numbers.")
    array = np.ascontiguousarray(array, dtype=np.float32)
    for start in range(0, len(array), _ROWS):
        finite = (np.abs(array[start : start + _ROWS]) <= _GREATEST).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise LmteachError(
                f"Row {row} of the {what} holds NaN, infinity or a number above {_GREATEST:.0e}.",
                mend="The encoder diverged or its weights are damaged; try a lower learning rate.",
            )
    return array
