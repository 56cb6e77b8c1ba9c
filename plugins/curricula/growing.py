"""What curricula share that label some documents more in each cycle: sizes, and the rule to stop. No plugin itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lmteach.curriculum.protocol import CycleResult, CycleState
from lmteach.errors import RecipeError

Positions = npt.NDArray[np.int64]


@dataclass
class GrowingConfig:
    """Keys of a curriculum that grows.

    Attributes:
        n_documents: labelled in each cycle.
        cycles: at most.
        flat: the curve is flat where the best of the last `patience` cycles is less than this above the best
            before them.
        patience: cycles that a curve must be flat for; labelling stops then.
        pool: unlabelled documents looked at in a cycle, drawn by chance; None = all.
    """

    n_documents: int = 1000
    cycles: int = 1
    flat: float = 0.005
    patience: int = 1
    pool: int | None = 10_000

    def check(self) -> None:
        """Raise a RecipeError for a value that makes no sense."""
        for key in ("n_documents", "cycles", "patience", "pool"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise RecipeError(f"It is {value}; it must be 1 or more.", where=f"curriculum.{key}")
        if not self.flat >= 0:
            raise RecipeError(f"It is {self.flat}; it must be 0 or more.", where="curriculum.flat")


def draw_pool(config: GrowingConfig, state: CycleState) -> Positions:
    """Return unlabelled positions to choose among, in ascending order, drawn by seed and cycle."""
    rest = np.setdiff1d(np.arange(state.n_documents, dtype=np.int64), state.labelled)
    if config.pool is None or config.pool >= len(rest):
        return rest
    wanted = max(config.pool, config.n_documents)
    rng = np.random.default_rng([state.seed, state.cycle, *b"pool"])
    return np.sort(rng.permutation(rest)[:wanted])


def draw_random(positions: Positions, n: int, state: CycleState) -> Positions:
    """Return n of some positions, ascending, drawn by seed and cycle."""
    rng = np.random.default_rng([state.seed, state.cycle, *b"random"])
    return np.sort(rng.permutation(positions)[:n])


class GrowingCurriculum:
    """The base of curricula that grow; `select` is theirs."""

    Config: ClassVar[type[GrowingConfig]] = GrowingConfig

    def __init__(self, config: GrowingConfig) -> None:
        config.check()
        self.config = config

    @property
    def max_cycles(self) -> int:
        return self.config.cycles

    def keep_going(self, history: Sequence[CycleResult]) -> bool:
        """Return whether another cycle is worth its labels: the stop-when-flat rule."""
        config = self.config
        if len(history) >= config.cycles:
            return False
        if len(history) <= config.patience:
            return True
        values = [result.dev_p1 for result in history]
        return max(values[-config.patience :]) >= max(values[: -config.patience]) + config.flat
