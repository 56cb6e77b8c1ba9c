"""What every kind of classifier offers, and one at work on raw texts.

Shape legend: n texts, B of a batch, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lmteach.errors import LmteachError, RecipeError, RunError
from lmteach.students.encode import packed_reader, reading
from lmteach.students.protocol import Reader
from lmteach.students.tagger import Tags
from lmteach.token_batches import WINDOW, token_batches
from lmteach.tracking.console import Console
from lmteach.tracking.run_folder import write_json

CARD = "lmteach.json"
BATCH_TOKENS = {"cpu": 2048}  # padded tokens a forward where gradients are not wanted; 65,536 elsewhere


@dataclass(frozen=True)
class ClassCard:
    """What a saved classifier says of itself in `lmteach.json`.

    Attributes:
        labels: names of the classes, by id.
        tuning: full, lora or frozen.
        max_tokens: where a text is cut; 0 where each backbone has its own.
        features: the sections `backbones`, `fusion` and `head` of a frozen one, and each backbone's fingerprint.
    """

    labels: tuple[str, ...]
    multilabel: bool
    tuning: str
    max_tokens: int = 0
    features: dict[str, Any] | None = None

    def save(self, folder: Path) -> None:
        """Write it into a student's folder."""
        write_json(folder / CARD, {"kind": "classifier", **vars(self)})

    @classmethod
    def load(cls, folder: Path) -> ClassCard:
        """Read it from a student's folder.

        Raises:
            RunError: there is none, or it is damaged.
        """
        try:
            found = json.loads((folder / CARD).read_text(encoding="utf-8"))
            found.pop("kind")
            return cls(**{**found, "labels": tuple(found["labels"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"This is no classifier that can be read: {error}.", where=str(folder)) from error


class Inputs(Protocol):
    """n texts, ready for a body: tokens, or vectors that lie on disk."""

    @property
    def lengths_n(self) -> npt.NDArray[np.int64]:
        """How long each is; batches are made of like lengths."""

    def collate(self, positions: Sequence[int]) -> Any:
        """Return some of them as the body takes them."""


@runtime_checkable
class TokenizedInputs(Protocol):
    """Inputs that are tokens, for a body that has a faster way to read them (`students.protocol.Packable`)."""

    def ids(self, positions: Sequence[int]) -> list[list[int]]:
        """Return the token ids of some of them."""


class ClassifierStudent(Protocol):
    """A classifier: a body with logits [B, C], and the way from texts to what the body takes."""

    @property
    def body(self) -> nn.Module:
        """What is trained; called with what `Inputs.collate` returns."""

    def read(self, texts: Sequence[str], console: Console) -> Inputs:
        """Turn texts into inputs: tokenize them, or run the frozen backbones where the store lacks them."""

    def prepare(self, inputs: Any, n: int) -> None:
        """See the first n of some inputs, the training texts, once before training: to normalise by them, say."""

    def save(self, folder: Path) -> None:
        """Write a folder from which it opens again."""


def logits_of(
    student: ClassifierStudent,
    inputs: Inputs,
    *,
    device: str,
    precision: Literal["fp32", "bf16"],
    progress: Any = None,
    reader: Reader | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits [n, C] of n texts, without gradients, in batches of like length, a window at a time.

    Args:
        progress: called with the number of texts done since the last call.
        reader: what `packed_reader` gave for this student, by a caller who asks often and trains no more.

    Raises:
        LmteachError: the body returned NaN or infinity.
    """
    found, order = [], list[int]()
    with reading(student, student.body, device, precision, reader) as packed:
        for places in _batches(inputs.lengths_n, BATCH_TOKENS.get(device, 65_536)):
            if packed is not None and isinstance(inputs, TokenizedInputs):
                logits_BC = packed(inputs.ids(places))
            else:
                logits_BC = student.body(moved(inputs.collate(places), device))
            found.append(logits_BC.float().cpu().numpy())
            order += places
            if progress is not None:
                progress(len(places))
    logits_nC: npt.NDArray[np.float32] = np.concatenate(found)[np.argsort(order)]
    if not np.isfinite(logits_nC).all():
        raise LmteachError(
            "The classifier returned NaN or infinity.",
            mend="Training diverged: try a lower training.lr, or training.precision=fp32.",
        )
    return logits_nC


def _batches(lengths_n: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[list[int]]:
    for start in range(0, len(lengths_n), WINDOW):
        for places in token_batches(lengths_n[start : start + WINDOW].tolist(), batch_tokens):
            yield [start + i for i in places]


def moved(inputs: Any, device: str) -> Any:
    """Return nested mappings of tensors on a device."""
    if isinstance(inputs, dict):
        return {name: moved(inner, device) for name, inner in inputs.items()}
    return inputs.to(device, non_blocking=True)


def probabilities(logits_nC: npt.NDArray[np.float32], multilabel: bool) -> npt.NDArray[np.float64]:
    """Return softmax over classes, or each class's sigmoid."""
    wide = torch.from_numpy(logits_nC).double()
    p_nC: npt.NDArray[np.float64] = (wide.sigmoid() if multilabel else wide.softmax(1)).numpy()
    return p_nC


class Classifier:
    """Classifies texts.

    Args:
        student: the body and its way with texts.
        card: its classes.
        device, precision: where and how it computes.
    """

    def __init__(
        self, student: ClassifierStudent, card: ClassCard, *, device: str, precision: Literal["fp32", "bf16"]
    ) -> None:
        self.student, self.card, self.names = student, card, list(card.labels)
        self.device, self.precision = device, precision

    def use_backbones(self, names: Sequence[str]) -> None:
        """Read texts with some of its frozen backbones only.

        Raises:
            RecipeError: it has no such backbone, or was not trained to do without one.
        """
        from lmteach.students.frozen import FrozenStudent

        if not isinstance(self.student, FrozenStudent):
            raise RecipeError("This classifier stands on no frozen backbones.", where="backbones")
        self.student.use(names)

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return the `top_k` likeliest classes of each text with their probabilities."""
        p_nC = self.probabilities(texts)
        ids_nk = np.argsort(-p_nC, axis=1, kind="stable")[:, :top_k]
        return [
            Tags(tuple(self.names[i] for i in ids), tuple(round(float(p_C[i]), 6) for i in ids))
            for ids, p_C in zip(ids_nk.tolist(), p_nC, strict=True)
        ]

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return [n, C]; rows sum to 1 unless several classes may apply."""
        if not texts:
            return np.zeros((0, len(self.names)))
        inputs = self.student.read(texts, Console(quiet=True))
        settings: dict[str, Any] = {
            "device": self.device,
            "precision": self.precision,
            "reader": self._reader,
        }
        logits_nC = logits_of(self.student, inputs, **settings)
        return probabilities(logits_nC, self.card.multilabel)

    @cached_property
    def _reader(self) -> Reader | None:
        return packed_reader(self.student, self.device, self.precision)
