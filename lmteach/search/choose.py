"""Exact search or ScaNN? The cheaper of the two, building included, from measured rates; and recall@k."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

EXACT_BELOW = 20_000  # labels; under it exact search is quick enough that an approximate one is not worth it


@dataclass(frozen=True)
class _Measured:
    """One size at which both were timed (384-d, 2 CPU cores, k = 10, ScaNN at recall .95)."""

    n_labels: int
    exact_per_second: float
    scann_per_second: float
    scann_build_seconds: float


_MEASURED = (
    _Measured(13_000, 39_000, 103_000, 1.6),
    _Measured(131_000, 2_000, 49_000, 11),
    _Measured(500_000, 362, 19_600, 128),
)


@dataclass(frozen=True)
class Choice:
    """Which searcher, and why in words with numbers, fit for a log line."""

    name: Literal["exact", "scann"]
    reason: str


def choose_searcher(
    n_labels: int, n_queries: int, *, dim: int = 384, on_gpu: bool = False, exact_below: int = EXACT_BELOW
) -> Choice:
    """Return the searcher that answers `n_queries` over one build soonest.

    Exact below `exact_below` labels, on a GPU (whose exact search outruns ScaNN on the CPU up to millions of
    labels), and where scann is not installed; else by the measured rates, interpolated between sizes.
    """
    if n_labels < exact_below:
        return Choice("exact", f"{n_labels:,} labels are fewer than {exact_below:,}")
    if on_gpu:
        return Choice("exact", f"{n_labels:,} labels on a GPU")
    if importlib.util.find_spec("scann") is None:
        return Choice("exact", "the package scann is not installed")
    exact = exact_seconds(n_labels, n_queries, dim)
    scann = scann_seconds(n_labels, n_queries, dim)
    reason = (
        f"{n_labels:,} labels, {n_queries:,} queries: about {exact:,.0f} s exact, "
        f"{scann:,.0f} s with ScaNN and its build"
    )
    return Choice("exact" if exact <= scann else "scann", reason)


def exact_seconds(n_labels: int, n_queries: int, dim: int = 384) -> float:
    """Return about how long exact search takes."""
    return n_queries / _at(n_labels, "exact_per_second") * dim / 384


def scann_seconds(n_labels: int, n_queries: int, dim: int = 384) -> float:
    """Return about how long ScaNN takes, its build included."""
    searching = n_queries / _at(n_labels, "scann_per_second")
    return (_at(n_labels, "scann_build_seconds") + searching) * dim / 384


def recall_at_k(approx_ids_qk: npt.NDArray[np.integer], exact_ids_qk: npt.NDArray[np.integer]) -> float:
    """Return the share of the exact results that the approximate search also found.

    Rows are paired; their order within does not count, -1 is nobody's result. nan without exact results.
    """
    found = wanted = 0
    for approx, exact in zip(approx_ids_qk, exact_ids_qk, strict=True):
        exact = exact[exact >= 0]
        found += int(np.isin(exact, approx).sum())
        wanted += len(exact)
    return found / wanted if wanted else float("nan")


def _at(n_labels: int, quantity: str) -> float:
    """Interpolate a measured quantity, both axes logarithmic; beyond the ends the last slope goes on."""
    x = np.log([m.n_labels for m in _MEASURED])
    y = np.log([getattr(m, quantity) for m in _MEASURED])
    i = int(np.clip(np.searchsorted(x, np.log(n_labels)) - 1, 0, len(x) - 2))
    slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
    return float(np.exp(y[i] + slope * (np.log(n_labels) - x[i])))
