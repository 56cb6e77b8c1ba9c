"""Adds up what workers count, part by part, so that the numbers of a dead worker's part can be told apart."""

from __future__ import annotations

import time
from collections import Counter

from lmteach.engines.protocol import Numbers, Sums


class Tally:
    """Sums over parts. One object serves all workers; on Ray it is an actor."""

    def __init__(self) -> None:
        self._parts: dict[int, Counter[str]] = {}
        self._attempts: Counter[int] = Counter()
        self._standing: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._n_lost = 0
        self._started = time.monotonic()

    def begin(self, number: int) -> int:
        """Begin a part, return for the how-manyth time; what an earlier attempt at it told is lost."""
        self._attempts[number] += 1
        if number in self._parts:
            self._n_lost += 1
            self._lost.update(self._parts[number])
            self._standing.subtract(self._parts[number])
        self._parts[number] = Counter()
        return self._attempts[number]

    def add(self, number: int, numbers: Numbers) -> Sums:
        """Add to a part's numbers; return the sums."""
        for name, value in numbers.items():
            self._parts[number][name] += value  # type: ignore[assignment]
            self._standing[name] += value  # type: ignore[assignment]
        return self.sums()

    def sums(self) -> Sums:
        """Return the sums as they stand."""
        seconds = time.monotonic() - self._started
        return Sums(dict(self._standing), dict(self._lost), self._n_lost, seconds)
