"""What a run says while it runs: a progress bar on a terminal, plain lines elsewhere, tables at the end.

Of the processes of a distributed run only the first one speaks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from lmteach.tracking.trackers import process_rank

PLAIN_SECONDS = 10.0  # between two plain lines of one stage


class Progress(Protocol):
    """Advances a stage; `numbers` are shown beside the count (say `yes=31%`)."""

    def advance(self, n: int, **numbers: object) -> None: ...


class Console:
    """Writes progress to stderr and tables to stdout.

    Args:
        quiet: say nothing but tables.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.speaks = process_rank() == 0
        self.quiet = quiet or not self.speaks
        self.is_terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Print one line about one event."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "docs") -> Iterator[Progress]:
        """Show the progress of a stage of `total` steps; say at its end how long it took."""
        start = time.monotonic()
        if self.quiet:
            yield _Silent()
            return
        if self.is_terminal:
            with _rich_progress() as bars:
                yield _Bar(bars, bars.add_task(name, total=total, numbers=""), unit)
        else:
            yield _Lines(self, name, total, unit)
        self.say(f"{name}: {total:,} {unit} in {time.monotonic() - start:.1f} s")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is left-aligned, the others right."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as RichConsole
        from rich.table import Table

        if not self.speaks:
            return
        table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        # As wide as it needs to be wherever it goes: a narrow terminal wraps the lines, but no figure is cut.
        RichConsole(width=400, highlight=False, markup=False).print(table)


class _Silent:
    def advance(self, n: int, **numbers: object) -> None:
        pass


class _Bar:
    def __init__(self, bars: Any, task: Any, unit: str) -> None:
        self.bars, self.task, self.unit = bars, task, unit

    def advance(self, n: int, **numbers: object) -> None:
        self.bars.update(self.task, advance=n, numbers=_numbers(numbers))


class _Lines:
    """One plain line every `PLAIN_SECONDS`, for logs."""

    def __init__(self, console: Console, name: str, total: int, unit: str) -> None:
        self.console, self.name, self.total, self.unit = console, name, total, unit
        self.n = 0
        self.start = self.last = time.monotonic()

    def advance(self, n: int, **numbers: object) -> None:
        self.n += n
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS:
            return
        self.last = now
        left = (now - self.start) * (self.total - self.n) / max(self.n, 1)
        self.console.say(
            f"{self.name}: {self.n:,} of {self.total:,} {self.unit}, {left:.0f} s left {_numbers(numbers)}".rstrip()
        )


def _rich_progress() -> Any:
    from rich import progress
    from rich.console import Console as RichConsole

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=12),  # narrow: the numbers behind it must fit 80 columns
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        progress.TextColumn("{task.fields[numbers]}"),
        console=RichConsole(file=sys.stderr),
        transient=True,
    )


def _numbers(numbers: dict[str, object]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())
