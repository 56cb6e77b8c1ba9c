"""A corpus in use: a label set, and documents to train on, to pick the best cycle by, and to test on."""

from __future__ import annotations

from dataclasses import dataclass

from lmteach.corpus.documents import Documents
from lmteach.corpus.gold import Gold

__all__ = ["Corpus", "Documents", "Gold", "LabelSet"]


@dataclass(frozen=True)
class LabelSet:
    """Label ids are positions. `texts` are encoded and prompted: the name, with a description if any."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Corpus:
    """What a run works on.

    Attributes:
        name: the known set's name, or that of its file or folder.
        labels: the label set.
        train: documents to learn from; gold, where there is any, is for the `oracle` teacher.
        dev: unlabelled documents apart from `train`, by which a run picks its best cycle.
        test: held-out documents; their gold is under seal until `test.unseal()`.
        fingerprint: a hash of all of it.
        extra: further documents that a teacher may label, without gold; None = none, or none asked for.
    """

    name: str
    labels: LabelSet
    train: Documents
    dev: Documents | None
    test: Documents | None
    fingerprint: str
    extra: Documents | None = None
