"""What labelling costs: what was spent, the caps on it, and prices as dated data.

Judgements are counted as (document, candidate) pairs, as the papers count teacher calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

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
