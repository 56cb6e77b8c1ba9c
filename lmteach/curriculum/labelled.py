"""Texts with a target for each class: what a classifier learns. Shape legend: n texts, C classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lmteach.corpus.gold import Gold
from lmteach.corpus.texts import Texts
from lmteach.errors import CorpusError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with a target for each class; texts and ids are read as they are asked for.

    Attributes:
        targets_nC: between 0 and 1, soft or hard; rows sum to 1 unless several classes may apply.
        weights_n: how much each text counts in the loss.
        ids: of the documents.
    """

    texts: Texts
    targets_nC: Floats
    weights_n: Floats
    ids: Texts

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: npt.NDArray[np.int64]) -> LabelledTexts:
        """Return some of them, in the order of `rows`."""
        return replace(
            self,
            texts=self.texts.take(rows),
            targets_nC=self.targets_nC[rows],
            weights_n=self.weights_n[rows],
            ids=self.ids.take(rows),
        )

    def followed_by(self, other: LabelledTexts) -> LabelledTexts:
        """Return these and then the others."""
        return LabelledTexts(
            self.texts.followed_by(other.texts),
            np.concatenate([self.targets_nC, other.targets_nC]),
            np.concatenate([self.weights_n, other.weights_n]),
            self.ids.followed_by(other.ids),
        )

    def split(self, share: float, seed: int) -> tuple[LabelledTexts, LabelledTexts | None]:
        """Return (the rest, a random `share` kept apart); None for a share of 0.

        At least one text stays on either side.

        Raises:
            CorpusError: there are fewer than two texts to split.
        """
        if not share:
            return self, None
        if len(self) < 2:
            raise CorpusError(f"{len(self)} labelled text cannot be split.", where="training.validation")
        order = np.random.default_rng([seed, *b"validation"]).permutation(len(self)).astype(np.int64)
        n_apart = min(max(1, round(share * len(self))), len(self) - 1)
        return self.take(np.sort(order[n_apart:])), self.take(np.sort(order[:n_apart]))


def one_hot(gold: Gold, n_classes: int, multilabel: bool) -> Floats:
    """Return gold as 0 and 1 over classes.

    Raises:
        CorpusError: a document has other than one class, and not `multilabel`.
    """
    lengths = np.diff(gold.indptr)
    if not multilabel and (lengths != 1).any():
        row = int((lengths != 1).argmax())
        raise CorpusError(
            f"{(lengths != 1).sum()} of {len(gold)} documents have other than one class "
            f"(number {row} has {lengths[row]}).",
            mend="Set student.multilabel=true.",
        )
    targets_nC = np.zeros((len(gold), n_classes), np.float32)
    targets_nC[np.repeat(np.arange(len(gold)), lengths), gold.ids] = 1.0
    return targets_nC
