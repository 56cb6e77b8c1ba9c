"""What was made of the last few prompt preambles: instructions stand in front of every document, and are
read once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from lmteach.teaching.causal.request import Tokens

T = TypeVar("T")


class Preambles(Generic[T]):
    """Keeps the most recently used values.

    Args:
        n_kept: how many. One prompt has one, unless it lists the candidates.
    """

    def __init__(self, n_kept: int = 16) -> None:
        self._n_kept = n_kept
        self._known: OrderedDict[Tokens, T] = OrderedDict()

    def get(self, tokens: Tokens, make: Callable[[Tokens], T]) -> T:
        """Return what is known of a preamble, making it first where needed."""
        if tokens in self._known:
            self._known.move_to_end(tokens)
        else:
            self._known[tokens] = make(tokens)
            if len(self._known) > self._n_kept:
                self._known.popitem(last=False)
        return self._known[tokens]
