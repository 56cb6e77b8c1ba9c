"""The local engine: one worker, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lmteach.engines.protocol import Sums, Work
from lmteach.engines.tally import Tally


class LocalEngine:
    """Does parts one after another, in order; see `protocol.Engine`."""

    n_machines = n_workers = 1

    @contextmanager
    def run(
        self, work: Work, parts: Sequence[Any], listen: Callable[[Sums], None]
    ) -> Iterator[Iterator[tuple[int, Any]]]:
        """See `protocol.Engine`."""
        yield self._answers(work, parts, listen)

    def _answers(
        self, work: Work, parts: Sequence[Any], listen: Callable[[Sums], None]
    ) -> Iterator[tuple[int, Any]]:
        if not parts:
            return
        tally, worker = Tally(), work.open()
        try:
            for number, part in enumerate(parts):
                tally.begin(number)

                def tell(numbers: Any, number: int = number) -> Sums:
                    sums = tally.add(number, numbers)
                    listen(sums)
                    return sums

                yield number, worker.do(part, tell)
        finally:
            worker.close()
