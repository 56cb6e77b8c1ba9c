"""Figures as tables and reports show them: with their interval, and times in a unit that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmteach.metrics.agreement import Rate
    from lmteach.metrics.intervals import Interval


def bounds(low: float, high: float, form: str = ".3f") -> str:
    """Return an interval's ends in brackets."""
    return f"[{low:{form}}, {high:{form}}]"


def interval(value: Interval, form: str = ".3f") -> str:
    """Return a mean with its interval."""
    return f"{value.mean:{form}} {bounds(value.low, value.high, form)}"


def rate(value: Rate) -> str:
    """Return a share in percent, with its interval."""
    return f"{value.share:.1%} {bounds(value.interval.low, value.interval.high, '.1%')}"


def epochs(n: float) -> str:
    """Return a number of epochs in words."""
    return f"{n:.0f} epoch{'' if round(n) == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
