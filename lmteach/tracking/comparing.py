"""Two runs on the same test documents: how far apart, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmteach.errors import RunError
from lmteach.metrics.intervals import paired_bootstrap
from lmteach.metrics.values import Floats, PerDocument
from lmteach.tracking.test_scores import TestScores


@dataclass(frozen=True)
class Difference:
    """One metric of two runs. `better` and `worse` count the documents on which the second gains or loses."""

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    better: int
    worse: int


@dataclass(frozen=True)
class Comparison:
    """All metrics that both runs have, over the same documents."""

    n_documents: int
    rows: list[Difference]


def compare_runs(
    first: Path,
    second: Path,
    *,
    students: tuple[str, ...] = ("chosen", "chosen"),
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two run folders.

    Args:
        students: of each, `chosen` or `untuned`.

    Raises:
        RunError: scores are missing, or belong to different test documents.
        LmteachError: no metric in common, or no resamples.
    """
    a, b = TestScores.load(first), TestScores.load(second)
    check_comparable(a, b, f"{first} and {second}")
    return compare_scores(
        _values(a, students[0], first), _values(b, students[1], second), resamples=resamples, seed=seed
    )


def check_comparable(a: TestScores, b: TestScores, where: str) -> None:
    """Make sure that two runs were measured on the same documents.

    Raises:
        RunError: they were not.
    """
    if a.documents == b.documents:
        return
    if a.n_documents != b.n_documents:
        what = f"{a.n_documents:,} test documents and {b.n_documents:,}"
    else:
        what = f"{a.n_documents:,} test documents each, but not the same ones, gold labels or label set"
    raise RunError(
        f"The two runs were measured on different documents ({what}), so they cannot be compared pair by pair.",
        where=where,
        mend="`lmteach evaluate RUN corpus.n_test=N` measures a run anew; the same seed and n_test draw the "
        "same documents.",
    )


def compare_scores(
    a: Mapping[str, PerDocument], b: Mapping[str, PerDocument], *, resamples: int, seed: int
) -> Comparison:
    """Compare per-document values of the same documents."""
    found = paired_bootstrap(a, b, resamples=resamples, seed=seed)
    rows = []
    for metric, difference in found.items():
        apart = _own(b[metric]) - _own(a[metric])
        rows.append(
            Difference(
                metric,
                a[metric].mean(),
                b[metric].mean(),
                difference.difference,
                difference.low,
                difference.high,
                difference.p_value,
                better=int((apart > 1e-9).sum()),
                worse=int((apart < -1e-9).sum()),
            )
        )
    return Comparison(len(next(iter(a.values()))), rows)


def _own(value: PerDocument) -> Floats:
    """Return each document's value; the denominators of a ratio are the same in both runs."""
    return np.asarray(value.numerators, dtype=np.float64)


def _values(scores: TestScores, which: str, where: Path) -> Mapping[str, PerDocument]:
    name = scores.chosen if which == "chosen" else which
    if name not in scores.values:
        raise RunError(f"This run has no scores of a student '{which}'.", where=str(where))
    return scores.values[name]
