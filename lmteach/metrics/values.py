"""What a metric leaves behind for each document, so that means and intervals come from the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmteach.errors import LmteachError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PerDocument:
    """One metric over n documents: a mean, or a ratio of sums where `denominators` are given.

    Attributes:
        numerators: [n], each document's own value (P@k, say), or its part of the ratio's upper sum.
        denominators: [n], its part of the ratio's lower sum (PSP@k: what a perfect ranking would earn);
            None = 1 for each document, hence an ordinary mean.
    """

    numerators: Floats
    denominators: Floats | None = None

    def __post_init__(self) -> None:
        shapes = {a.shape for a in (self.numerators, self.denominators) if a is not None}
        if len(shapes) != 1 or self.numerators.ndim != 1:
            raise LmteachError(f"Per-document values must be vectors of one length, not of shapes {shapes}.")

    def __len__(self) -> int:
        return len(self.numerators)

    def mean(self) -> float:
        """Return the metric over all documents; nan where there is nothing to average."""
        lower = float(len(self) if self.denominators is None else self.denominators.sum())
        return float(self.numerators.sum()) / lower if lower > 0 else float("nan")


def means(values: Mapping[str, PerDocument]) -> dict[str, float]:
    """Return each metric's mean."""
    return {name: value.mean() for name, value in values.items()}
