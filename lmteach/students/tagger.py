"""A trained tagger at work: the student's encoder, its label set, and the label vectors it was saved with.

Shape legend: n texts, l labels, k labels a text, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmteach.students.encode import encode_texts, packed_reader
from lmteach.students.label_set import LABELS, VECTORS, load_labels, save_labels
from lmteach.students.protocol import Encoder, Kind, Reader
from lmteach.students.tags import Tags, nearest_tags

if TYPE_CHECKING:
    from lmteach.search.protocol import Searcher, Vectors

__all__ = ["LABELS", "VECTORS", "Tagger", "Tags", "load_labels", "save_labels"]


class Tagger:
    """Tags texts.

    Args:
        encoder: the student.
        names: its labels.
        searcher: built over the label vectors, in the order of `names`.
        device: where it computes.
        precision: `fp32` or `bf16`.
    """

    def __init__(
        self, encoder: Encoder, names: Sequence[str], searcher: Searcher, *, device: str, precision: Any
    ) -> None:
        self.encoder, self.names, self.searcher = encoder, list(names), searcher
        self.device, self.precision = device, precision

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return the `top_k` nearest labels of each text, all of them where there are fewer."""
        return nearest_tags(self, texts, top_k)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return the vectors [n, D] of documents (`search`) or labels."""
        settings: dict[str, Any] = {"device": self.device, "precision": self.precision}
        return encode_texts(self.encoder, texts, kind, **settings, reader=self._reader)

    @cached_property
    def _reader(self) -> Reader | None:
        return packed_reader(self.encoder, self.device, self.precision)

    def relabelled(self, names: Sequence[str], searcher: Searcher) -> Tagger:
        """Return the same student with another label set."""
        return Tagger(self.encoder, names, searcher, device=self.device, precision=self.precision)
