"""How a batch of requests lies in memory: one flat row of tokens, no padding, and who attends to whom.

Order: all prefixes, then all suffixes, both in the order of the requests. Linear layers see N tokens of many
documents at once; only attention knows the borders. The requests' common preamble is not in the row: what
was made of it is kept, and every token attends to it.

Shape legend: N tokens, W wanted positions, R rows (queries) of a block, O own keys of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lmteach.teaching.causal.request import Request

PREFIX_ROWS = 192  # rows a block: small enough to skip most of the future, large enough for a fast matmul
SUFFIX_ROWS = 256


@dataclass(frozen=True)
class Block:
    """Queries `rows` attend to all keys of `past`, and to those keys of `own` that `mask` does not bar.

    `mask`, [R, O], is additive: 0 or -inf.
    """

    rows: slice
    past: slice
    own: slice
    mask: Tensor


@dataclass(frozen=True)
class Spans:
    """The same borders for kernels that take cumulative lengths: int32 on the device.

    Self-attention: each prefix and each suffix is a sequence. Cross-attention: the suffixes of a document
    attend to its prefix.
    """

    own: Tensor
    max_own: int
    prefixes: Tensor
    max_prefix: int
    suffixes: Tensor
    max_suffixes: int


@dataclass(frozen=True)
class Layout:
    """A batch ready for a model.

    Attributes:
        ids, positions: token ids, and their positions within their own prompt, [N].
        wanted: where hidden states are wanted, [W].
        n_prefix: tokens of all prefixes together; the suffixes begin there.
        blocks: attention of every token.
        last_blocks: attention of the wanted positions alone; `rows` count within `wanted`.
    """

    ids: Tensor
    positions: Tensor
    wanted: Tensor
    n_prefix: int
    blocks: tuple[Block, ...]
    last_blocks: tuple[Block, ...]
    spans: Spans

    @property
    def n_tokens(self) -> int:
        """N."""
        return len(self.ids)


def lay_out(requests: Sequence[Request], *, device: torch.device, dtype: torch.dtype) -> Layout:
    """Return the layout of the requests without their preambles, on `device`, masks in `dtype`."""
    masks = _Masks(device, dtype)
    ids: list[int] = []
    positions: list[int] = []
    blocks: list[Block] = []
    starts: list[int] = []
    for request in requests:
        starts.append(len(ids))
        ids += request.body
        positions += range(request.n_preamble, len(request.prefix))
        blocks += _prefix_blocks(starts[-1], len(request.body), masks)
    n_prefix = len(ids)
    wanted: list[int] = []
    last_blocks: list[Block] = []
    for request, start in zip(requests, starts, strict=True):
        past = slice(start, start + len(request.body))
        for group in _groups(request):
            at, base = len(ids), len(wanted)
            lengths = [len(suffix) for suffix in group.suffixes]
            for suffix in group.suffixes:
                ids += suffix
                positions += range(len(request.prefix), len(request.prefix) + len(suffix))
            own = slice(at, len(ids))
            mask_OO = masks.suffixes(lengths)
            if lengths and len(ids) > at:
                blocks.append(Block(own, past, own, mask_OO))
            rows = _wanted_rows(group, at, past.stop - 1, first=group.first)
            wanted += rows
            if rows:
                last = slice(base, len(wanted))
                last_blocks.append(Block(last, past, own, masks.rows(mask_OO, [r - at for r in rows])))
    return Layout(
        ids=torch.tensor(ids, device=device),
        positions=torch.tensor(positions, device=device),
        wanted=torch.tensor(wanted, device=device),
        n_prefix=n_prefix,
        blocks=tuple(blocks),
        last_blocks=tuple(last_blocks),
        spans=_spans(requests, device),
    )


@dataclass(frozen=True)
class _Group:
    suffixes: tuple[tuple[int, ...], ...]
    each: bool
    first: bool


def _groups(request: Request) -> Iterator[_Group]:
    """Cut a request's suffixes into groups of about `SUFFIX_ROWS` tokens: what bars one another is
    quadratic.
    """
    each = request.read == "each"
    group: list[tuple[int, ...]] = []
    first = True
    for suffix in request.suffixes:
        if group and sum(map(len, group)) + len(suffix) > SUFFIX_ROWS:
            yield _Group(tuple(group), each, first)
            group, first = [], False
        group.append(suffix)
    yield _Group(tuple(group), each, first)


def _wanted_rows(group: _Group, at: int, prefix_end: int, *, first: bool) -> list[int]:
    """Return the flat positions wanted of a group that begins at `at`; the prefix's last one stands for
    empties.
    """
    rows = [prefix_end] if group.each and first else []
    for suffix in group.suffixes:
        end = at + len(suffix)
        if group.each:
            rows += range(at, end)
        else:
            rows.append(end - 1 if suffix else prefix_end)
        at = end
    return rows


def _prefix_blocks(start: int, length: int, masks: _Masks) -> Iterator[Block]:
    n_blocks = max(1, -(-length // PREFIX_ROWS))
    edges = [start + length * i // n_blocks for i in range(n_blocks + 1)]
    for a, b in pairwise(edges):
        yield Block(slice(a, b), slice(start, a), slice(a, b), masks.causal(b - a))


class _Masks:
    """Makes additive masks; equal ones are one tensor."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._causal: dict[int, Tensor] = {}
        self._suffixes: dict[tuple[int, ...], Tensor] = {}

    def causal(self, n: int) -> Tensor:
        if n not in self._causal:
            full = torch.full((n, n), float("-inf"), dtype=self.dtype, device=self.device)
            self._causal[n] = full.triu_(1)
        return self._causal[n]

    def suffixes(self, lengths: Sequence[int]) -> Tensor:
        """Each suffix sees itself causally and no other."""
        key = tuple(lengths)
        if key not in self._suffixes:
            owner = torch.repeat_interleave(torch.arange(len(key)), torch.tensor(key, dtype=torch.long))
            index = torch.arange(len(owner))
            barred = (owner[:, None] != owner[None, :]) | (index[:, None] < index[None, :])
            mask = torch.zeros(barred.shape, dtype=self.dtype).masked_fill_(barred, float("-inf"))
            self._suffixes[key] = mask.to(self.device)
        return self._suffixes[key]

    def rows(self, mask_OO: Tensor, rows: Sequence[int]) -> Tensor:
        """Take rows of a mask; a negative row is the prefix's last token, which sees no suffix."""
        out = torch.full((len(rows), mask_OO.shape[1]), float("-inf"), dtype=self.dtype, device=self.device)
        inside = [i for i, row in enumerate(rows) if row >= 0]
        if inside:
            out[inside] = mask_OO[[rows[i] for i in inside]]
        return out


def _spans(requests: Sequence[Request], device: torch.device) -> Spans:
    prefixes = [len(r.body) for r in requests]
    each = [len(s) for r in requests for s in r.suffixes if s]
    suffixes = [sum(map(len, r.suffixes)) for r in requests]

    def cumulative(lengths: Sequence[int]) -> Tensor:
        edges = torch.zeros(len(lengths) + 1, dtype=torch.int32)
        torch.cumsum(torch.tensor(lengths, dtype=torch.int32), 0, dtype=torch.int32, out=edges[1:])
        return edges.to(device)

    return Spans(
        own=cumulative(prefixes + each),
        max_own=max(prefixes + each),
        prefixes=cumulative(prefixes),
        max_prefix=max(prefixes),
        suffixes=cumulative(suffixes),
        max_suffixes=max(suffixes),
    )
