"""What encoders, heads and losses are: the parts of a student that anyone can write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module, Parameter

Kind = Literal["document", "search", "label"]
"""A document in training, a document in search (its own length), or a label."""

StudentKind = Literal["tagger", "classifier"]
"""A recipe's `student.kind`."""

Reader = Callable[[Sequence[Sequence[int]]], "torch.Tensor"]
"""From the token ids of B texts, the longest first, to a row of fp32 for each, without gradients."""


@runtime_checkable
class Packable(Protocol):
    """What an encoder or a classifier may offer beside its forward: a faster one while its weights stay as they are."""

    def packed(self, precision: Literal["fp32", "bf16"]) -> Reader | None:
        """Return it, made of the weights as they are now; None where this model or device has none."""


@runtime_checkable
class Encoder(Protocol):
    """A trainable text encoder; also a `torch.nn.Module`. Shape legend: B texts, T tokens, D dimensions.

    The plugin that is announced has a `Config` and, called with one, returns this: the class itself, or a light
    class whose `__new__` builds the module, so that reading a recipe does not import torch.
    """

    def parameters(self) -> Iterator[Parameter]:
        """What is trained, as of any module."""

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, cut to the length of its kind."""

    def collate(self, token_ids: Sequence[Sequence[int]]) -> Mapping[str, torch.Tensor]:
        """Pad to the longest of the batch: the keyword arguments of `forward`, each [B, T]."""

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the L2-normalised vectors [B, D] in fp32."""

    def save(self, folder: Path) -> None:
        """Write a folder that `sentence_transformers.SentenceTransformer` loads and that encodes the same."""


@runtime_checkable
class Head(Protocol):
    """What turns a classifier's fused vector into a score for each class. Built as `MyHead(config)`."""

    Config: ClassVar[type[Any]]

    def module(self, in_dim: int, n_classes: int) -> Module:
        """Return a new module [B, in_dim] -> [B, n_classes]: logits, each row from its own vector alone.

        Its first weights are drawn by torch's seed. Its state is kept in safetensors.
        """


@runtime_checkable
class TaggerLoss(Protocol):
    """What a tagger learns by. Built as `MyLoss(config)`; it has no weights of its own.

    Shape legend: B documents, G labels drawn for them and for other ranks' documents (G = B in one process).
    """

    Config: ClassVar[type[Any]]
    student_kind: ClassVar[StudentKind]
    """`tagger`."""

    def __call__(self, scores_BG: Tensor, positive_BG: Tensor, first: int = 0) -> Tensor:
        """Return a scalar: the mean over the documents, each row's share made of its own row alone.

        Args:
            scores_BG: the cosine of document i and the label drawn for document j, fp32.
            positive_BG: boolean; where label j is in document i's yes set, its own always: no negative of i.
            first: the column of document 0's own label; document i's is `first + i`.
        """


@runtime_checkable
class ClassLoss(Protocol):
    """What a classifier learns by. Built as `MyLoss(config, multilabel)`; it has no weights of its own.

    `multilabel`: any number of classes may apply to a text, each is judged for itself (sigmoid); else exactly one
    (softmax). A loss that has no meaning there raises RecipeError. Shape legend: B texts, C classes.
    """

    Config: ClassVar[type[Any]]
    student_kind: ClassVar[StudentKind]
    """`classifier`."""

    def __call__(self, logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor) -> Tensor:
        """Return a scalar: the texts' losses, each times its weight, summed and divided by B.

        Args:
            logits_BC: fp32.
            targets_BC: between 0 and 1, a teacher's probabilities also; without `multilabel` each row sums to 1.
            weights_B: how much each text counts; 0 leaves it out.
        """
