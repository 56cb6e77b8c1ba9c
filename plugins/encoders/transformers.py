"""Any encoder that transformers loads, pooled to one normalised vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from lmteach.students.pooled_encoder import PooledEncoder


class TransformersEncoder:
    """One shared encoder for documents and labels (LMTX, section 3)."""

    @dataclass
    class Config:
        """`model`: a hub name, a folder, or `package:NAME/FOLDER` of an installed package of weights.

        The three lengths cut a document in training, a document in search, and a label, in tokens.
        `dropout` overrides the model's own; null keeps it.
        """

        model: str = "sentence-transformers/msmarco-distilbert-base-v4"
        pooling: Literal["mean", "cls", "last"] = "mean"
        document_length: int = 450
        search_length: int = 430
        label_length: int = 15
        dropout: float | None = None

    def __new__(cls, config: Config) -> PooledEncoder:  # type: ignore[misc]
        # The module is built here, so that reading a recipe does not import torch.
        from lmteach.students.pooled_encoder import PooledEncoder
        from lmteach.weights import resolve

        for key in ("document_length", "search_length", "label_length"):
            if getattr(config, key) < 3:  # the model's own two marks, and one token of text
                raise RecipeError(
                    f"It is {getattr(config, key)}; it must be 3 or more.", where=f"student.encoder.{key}"
                )
        if config.dropout is not None and not 0 <= config.dropout < 1:
            raise RecipeError(
                f"It is {config.dropout}; it must be 0 or more, below 1.", where="student.encoder.dropout"
            )
        return PooledEncoder(
            resolve(config.model),
            pooling=config.pooling,
            lengths={
                "document": config.document_length,
                "search": config.search_length,
                "label": config.label_length,
            },
            dropout=config.dropout,
        )
