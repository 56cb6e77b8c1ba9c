"""What is asked of a causal model: a prefix read once, and suffixes that each follow it. Plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Tokens = tuple[int, ...]

Read = Literal["last", "each"]
"""Where hidden states are wanted: behind the last token of each suffix, or behind the prefix and each
suffix token.
"""


@dataclass(frozen=True)
class Request:
    """A document's prompt for all its candidates.

    The first `n_preamble` tokens of the prefix are the prompt's own and the same for many requests, so a
    reader may keep what it made of them. At least one token of the prefix comes behind them.

    With `read` = "last", one position per suffix is wanted; an empty suffix means the prefix's last token.
    With "each", the prefix's last position is wanted first, then every suffix position, in order.
    """

    prefix: Tokens
    suffixes: tuple[Tokens, ...]
    read: Read = "last"
    n_preamble: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.n_preamble < len(self.prefix):
            raise ValueError("a prefix needs at least one token behind its preamble")

    @property
    def preamble(self) -> Tokens:
        """What this prompt has in common with others."""
        return self.prefix[: self.n_preamble]

    @property
    def body(self) -> Tokens:
        """The rest of the prefix."""
        return self.prefix[self.n_preamble :]

    @property
    def n_tokens(self) -> int:
        """Tokens that must be read for this request alone: the body once, every suffix."""
        return len(self.prefix) - self.n_preamble + sum(map(len, self.suffixes))

    @property
    def n_wanted(self) -> int:
        """How many hidden states are wanted."""
        return len(self.suffixes) if self.read == "last" else 1 + sum(map(len, self.suffixes))


def batches(requests: Sequence[Request], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the positions of the requests that are read together: of one preamble, within the token budget.

    A request larger than the budget makes a batch of its own. Longest first, so that memory runs out at once
    or never.
    """
    order = sorted(range(len(requests)), key=lambda i: (requests[i].preamble, -requests[i].n_tokens))
    batch: list[int] = []
    total = 0
    for i in order:
        full = total + requests[i].n_tokens > batch_tokens
        if batch and (full or requests[i].preamble != requests[batch[0]].preamble):
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += requests[i].n_tokens
    if batch:
        yield batch


def split(request: Request, n_tokens: int) -> list[Request]:
    """Cut a request with very many suffixes into several that share the prefix, each of about `n_tokens`.

    Only for `read` = "last" or "each" alike: the caller joins the wanted positions again.
    """
    room = max(n_tokens - len(request.body), 1)
    groups: list[list[Tokens]] = [[]]
    filled = 0
    for suffix in request.suffixes:
        if groups[-1] and filled + len(suffix) > room:
            groups.append([])
            filled = 0
        groups[-1].append(suffix)
        filled += len(suffix)
    return [replace(request, suffixes=tuple(group)) for group in groups]
