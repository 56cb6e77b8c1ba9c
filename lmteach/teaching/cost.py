"""What labelling costs: what was spent, what it is measured by, and the caps on it.

Judgements are counted as (document, candidate) pairs, as the papers count teacher calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lmteach.teaching.energy import EnergyMeter
from lmteach.types import Usage, Verdict


@dataclass
class Counters:
    """What teachers did in a run; one object shared by all `StoredTeacher`s of the run.

    Attributes:
        made: pairs that a teacher judged now.
        from_store: pairs whose answer was in the store, or stood twice in one batch.
        unread: answers, of both kinds, that could not be read.
        usage: what the pairs made now cost.
    """

    made: int = 0
    from_store: int = 0
    unread: int = 0
    usage: Usage = field(default_factory=Usage)

    def copy(self) -> Counters:
        """Return the counters as they stand now."""
        return Counters(self.made, self.from_store, self.unread, self.usage)

    def __sub__(self, before: Counters) -> Counters:
        return Counters(
            self.made - before.made,
            self.from_store - before.from_store,
            self.unread - before.unread,
            subtract(self.usage, before.usage),
        )


@dataclass
class Spent:
    """What a run has spent on labelling: pairs judged, tokens in and out, dollars, hours of wall clock."""

    judgements: int = 0
    tokens: int = 0
    usd: float = 0.0
    hours: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """Return plain numbers, to be written into the run folder and given back on resume."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass
class Budget:
    """Caps on what labelling may spend in a run; None = no cap.

    Only what is newly made counts, never what the store answers. `spent` grows by `charge`; a resumed run
    gives what it spent before.
    """

    judgements: int | None = None
    tokens: int | None = None
    usd: float | None = None
    hours: float | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return any(cap is not None for cap in (self.judgements, self.tokens, self.usd, self.hours))

    def charge(self, n_made: int, usage: Usage, seconds: float) -> None:
        """Add what a batch cost; `seconds` is wall clock."""
        self.spent.judgements += n_made
        self.spent.tokens += usage.prompt_tokens + usage.answer_tokens
        self.spent.usd += usage.usd
        self.spent.hours += seconds / 3600

    def reached(self) -> str | None:
        """Return which cap is reached, as `budget.KEY = CAP`; None while there is room under all."""
        n_pairs, cap = self.room()
        return cap if n_pairs <= 0 else None

    def room(self) -> tuple[float, str]:
        """Return how many pairs may still be judged, and the cap that says so; infinite where none does.

        Exact for `judgements`; else by the average cost of a pair so far, infinite before the first.
        """
        spent, tightest = self.spent.as_dict(), (float("inf"), "")
        for name in spent:
            cap = getattr(self, name)
            if cap is None:
                continue
            room = max(0.0, cap - spent[name])
            if room and name != "judgements":
                cost = spent[name] / max(1, self.spent.judgements)
                room = room / cost if cost else float("inf")
            if room < tightest[0]:
                tightest = (room, f"budget.{name} = {cap}")
        return tightest

    def share(self, rank: int, n_ranks: int) -> Budget:
        """Return one rank's share of what is left, where several label at once; hours are not divided."""

        def part(name: str) -> Any:
            cap = getattr(self, name)
            if cap is None:
                return None
            left = max(0, cap - getattr(self.spent, name))
            return (
                left * (rank + 1) // n_ranks - left * rank // n_ranks
                if isinstance(cap, int)
                else left / n_ranks
            )

        hours = None if self.hours is None else max(0.0, self.hours - self.spent.hours)
        return Budget(part("judgements"), part("tokens"), part("usd"), hours)


class Meter:
    """Measures a batch of verdicts: seconds always, joules and dollars where it is told how.

    Args:
        usd_an_hour: what the machine costs, for teachers that run on it and know no price.
        energy: reads the machine's energy counters.
    """

    def __init__(self, usd_an_hour: float = 0.0, energy: EnergyMeter | None = None) -> None:
        self.usd_an_hour, self.energy = usd_an_hour, energy
        self._started = 0.0

    def start(self) -> None:
        """Begin a batch."""
        self._started = time.perf_counter()
        if self.energy is not None:
            self.energy.lap()

    def share(self, verdicts: Sequence[Verdict | None]) -> list[Verdict | None]:
        """End the batch: share among its pairs each quantity that no verdict of it speaks of."""
        seconds = time.perf_counter() - self._started
        joules = None if self.energy is None else self.energy.lap()
        answered = [verdict for verdict in verdicts if verdict is not None]
        n_pairs = sum(len(verdict.scores) for verdict in answered)
        given: dict[str, float] = {}
        if not any(verdict.usage.seconds for verdict in answered):
            given["seconds"] = seconds
        if self.usd_an_hour and not any(verdict.usage.usd for verdict in answered):
            given["usd"] = seconds / 3600 * self.usd_an_hour
        if joules is not None and all(verdict.usage.joules is None for verdict in answered):
            given["joules"] = joules
        if not n_pairs or not given:
            return list(verdicts)
        return [verdict and _with(verdict, given, len(verdict.scores) / n_pairs) for verdict in verdicts]


def _with(verdict: Verdict, totals: Mapping[str, float], share: float) -> Verdict:
    measured = {name: total * share for name, total in totals.items()}
    return replace(verdict, usage=replace(verdict.usage, **measured))  # type: ignore[arg-type]


def total_usage(verdicts: Iterable[Verdict]) -> Usage:
    """Return the sum of what verdicts cost."""
    total = Usage()
    for verdict in verdicts:
        total = total + verdict.usage
    return total


def subtract(after: Usage, before: Usage) -> Usage:
    """Return the usage between two sums."""
    joules = None if after.joules is None else after.joules - (before.joules or 0.0)
    return Usage(
        after.prompt_tokens - before.prompt_tokens,
        after.answer_tokens - before.answer_tokens,
        after.seconds - before.seconds,
        after.usd - before.usd,
        joules,
    )
