"""The `segment` teacher (RTS): a random piece of a document is its pseudo-label, the rest the query.

No language model and no label set: in-domain pairs that teach an encoder what belongs together. Source: the
RTS baseline in LMTX's comparison (structural contrastive learning for zero-shot multi-label classification).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmteach.errors import TeacherError
from lmteach.teaching.chance import chance
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Document

_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r"\S.*?(?:[.!?。！？]+(?=\s|$)|\n|$)", re.DOTALL)


class SegmentTeacher:
    """Makes (rest, segment) pairs; it cannot judge labels. A `PairTeacher`."""

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: segment`.

        Attributes:
            unit: what a segment is made of.
            min_length: a segment has at least this many words (or sentences).
            max_length: and at most this many.
            max_share: it never takes more than this share of the document's words (or sentences).
        """

        unit: Literal["words", "sentences"] = "words"
        min_length: int = 3
        max_length: int = 32
        max_share: float = 0.5

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        if not 1 <= config.min_length <= config.max_length:
            raise TeacherError("A segment has 1 <= min_length <= max_length.", where="teacher.min_length")
        if not 0 < config.max_share < 1:
            raise TeacherError("A share lies between 0 and 1.", where="teacher.max_share")
        if config.unit not in ("words", "sentences"):
            raise TeacherError(f"A segment is not made of '{config.unit}'.", where="teacher.unit")
        self.config = config

    @property
    def identity(self) -> str:
        """The lengths."""
        c = self.config
        return f"segment v1 unit={c.unit} length={c.min_length}-{c.max_length} max_share={c.max_share:g}"

    def pairs(self, documents: Sequence[Document], seed: int) -> list[tuple[str, str] | None]:
        """Return (rest, segment) of each document; None for one that is too short to be cut."""
        return [self._cut(document, seed) for document in documents]

    def close(self) -> None:
        """Nothing to free."""

    def _cut(self, document: Document, seed: int) -> tuple[str, str] | None:
        pattern = _WORD if self.config.unit == "words" else _SENTENCE
        spans = [match.span() for match in pattern.finditer(document.text)]
        longest = min(self.config.max_length, int(len(spans) * self.config.max_share))
        if longest < self.config.min_length:
            return None
        drawn = random.Random(int(chance(seed, document.id, document.text) * 2**53))
        n = drawn.randint(self.config.min_length, longest)
        first = drawn.randint(0, len(spans) - n)
        start, end = spans[first][0], spans[first + n - 1][1]
        rest = f"{document.text[:start].rstrip()} {document.text[end:].lstrip()}".strip()
        return rest, document.text[start:end].strip()
