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

from lmteach.teaching.causal.request import Request, Tokens

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
        spans: the borders, for a kernel that takes them so; else None, and there are blocks.
        blocks: attention of every token.
        last_blocks: attention of the wanted positions alone; `rows` count within `wanted`.
    """

    ids: Tensor
    positions: Tensor
    wanted: Tensor
    n_prefix: int
    spans: Spans | None
    blocks: tuple[Block, ...] = ()
    last_blocks: tuple[Block, ...] = ()

    @property
    def n_tokens(self) -> int:
        """N."""
        return len(self.ids)


def lay_out(
    requests: Sequence[Request], *, device: torch.device, dtype: torch.dtype, by_spans: bool = False
) -> Layout:
    """Return the layout of the requests without their preambles.

    Args:
        requests: at least one, each with a suffix.
        device: where the tensors go.
        dtype: of the masks.
        by_spans: describe the borders by cumulative lengths rather than blocks.
    """
    ids: list[int] = []
    positions: list[int] = []
    starts: list[int] = []
    for request in requests:
        starts.append(len(ids))
        ids += request.body
        positions += range(request.n_preamble, len(request.prefix))
    n_prefix = len(ids)
    wanted: list[int] = []
    groups: list[_Group] = []
    for request, start in zip(requests, starts, strict=True):
        end = start + len(request.body)
        for k, suffixes in enumerate(_grouped(request.suffixes)):
            at, base = len(ids), len(wanted)
            for suffix in suffixes:
                ids += suffix
                positions += range(len(request.prefix), len(request.prefix) + len(suffix))
            wanted += _wanted_rows(suffixes, at, end - 1, each=request.read == "each", first=k == 0)
            own, rows = slice(at, len(ids)), slice(base, len(wanted))
            groups.append(_Group(slice(start, end), own, rows, tuple(map(len, suffixes))))
    prefixes = [slice(start, start + len(r.body)) for start, r in zip(starts, requests, strict=True)]
    blocks, last_blocks = ((), ()) if by_spans else _blocks(prefixes, groups, wanted, _Masks(device, dtype))
    return Layout(
        ids=torch.tensor(ids, device=device),
        positions=torch.tensor(positions, device=device),
        wanted=torch.tensor(wanted, device=device),
        n_prefix=n_prefix,
        spans=_spans(requests, device) if by_spans else None,
        blocks=tuple(blocks),
        last_blocks=tuple(last_blocks),
    )


@dataclass(frozen=True)
class _Group:
    """Some suffixes of one prefix: where the prefix, they themselves and what is wanted of them lie."""

    past: slice
    own: slice
    rows: slice
    lengths: tuple[int, ...]


def _grouped(suffixes: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """Cut suffixes into groups of about `SUFFIX_ROWS` tokens: the mask between them is quadratic."""
    group: list[Tokens] = []
    for suffix in suffixes:
        if group and sum(map(len, group)) + len(suffix) > SUFFIX_ROWS:
            yield group
            group = []
        group.append(suffix)
    yield group


def _wanted_rows(
    suffixes: Sequence[Tokens], at: int, prefix_end: int, *, each: bool, first: bool
) -> list[int]:
    """Return the flat positions wanted of suffixes that begin at `at`; the prefix's last stands for
    empty ones.
    """
    rows = [prefix_end] if each and first else []
    for suffix in suffixes:
        end = at + len(suffix)
        if each:
            rows += range(at, end)
        else:
            rows.append(end - 1 if suffix else prefix_end)
        at = end
    return rows


def _blocks(
    prefixes: Sequence[slice], groups: Sequence[_Group], wanted: Sequence[int], masks: _Masks
) -> tuple[list[Block], list[Block]]:
    """Return the blocks of all tokens, and those of the wanted positions."""
    blocks = [block for prefix in prefixes for block in _prefix_blocks(prefix, masks)]
    last_blocks = []
    for group in groups:
        mask = masks.suffixes(group.lengths)
        if group.own.stop > group.own.start:
            blocks.append(Block(group.own, group.past, group.own, mask))
        rows = [position - group.own.start for position in wanted[group.rows]]
        if rows:
            last_blocks.append(Block(group.rows, group.past, group.own, masks.rows(mask, rows)))
    return blocks, last_blocks


def _prefix_blocks(prefix: slice, masks: _Masks) -> Iterator[Block]:
    length = prefix.stop - prefix.start
    n_blocks = max(1, -(-length // PREFIX_ROWS))
    edges = [prefix.start + length * i // n_blocks for i in range(n_blocks + 1)]
    for a, b in pairwise(edges):
        yield Block(slice(a, b), slice(prefix.start, a), slice(a, b), masks.causal(b - a))


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
