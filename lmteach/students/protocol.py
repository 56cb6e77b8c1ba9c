"""What an encoder is: text in, one vector out, with gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter

Kind = Literal["document", "search", "label"]
"""A document in training, a document in search (its own length), or a label."""


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
