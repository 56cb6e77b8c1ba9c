"""What a student says about a text. Light: a student at work without torch uses it too.

Shape legend: n texts, k labels a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmteach.search.protocol import Vectors
    from lmteach.students.protocol import Kind


@dataclass(frozen=True)
class Tags:
    """One text's best labels, best first.

    `scores` are cosines (taggers) or class probabilities (classifiers). `probabilities`, where the student is
    calibrated, say how likely each label is right; empty otherwise.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...] = ()

    def cut(self, n: int) -> Tags:
        """Return the first `n`."""
        return Tags(self.labels[:n], self.scores[:n], self.probabilities[:n])


def name_tags(
    names: Sequence[str], ids_nk: npt.NDArray[np.int64], scores_nk: npt.NDArray[np.float32]
) -> list[Tags]:
    """Return each row's labels by name; a place for which a search found nothing (id -1) is left out."""
    tags = []
    for ids, scores in zip(ids_nk.tolist(), scores_nk.tolist(), strict=True):
        found = [(names[i], round(score, 6)) for i, score in zip(ids, scores, strict=True) if i >= 0]
        tags.append(Tags(tuple(name for name, _ in found), tuple(score for _, score in found)))
    return tags


class FindsLabels(Protocol):
    """A tagger, whatever computes its vectors. `searcher` is built over the label vectors, in the order of `names`."""

    names: list[str]
    searcher: Any

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors: ...


def nearest_tags(tagger: FindsLabels, texts: Sequence[str], top_k: int) -> list[Tags]:
    """Return the `top_k` nearest labels of each text, all of them where there are fewer."""
    if not texts:
        return []
    ids_nk, scores_nk = tagger.searcher.search(tagger.encode(texts, "search"), top_k)
    return name_tags(tagger.names, ids_nk, scores_nk)
