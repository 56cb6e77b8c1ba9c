"""The `mine` encoder: the mean of a text's word-piece vectors, without a transformer. Small and very fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmteach.errors import RecipeError

if TYPE_CHECKING:
    from lmteach.scaffold.templates.encoder_module import MineModule


class MineEncoder:
    """Announces the encoder. The module itself is built where it is needed, so that reading a recipe is quick."""

    @dataclass
    class Config:
        """Keys of `student.encoder:` with `name: mine`.

        Attributes:
            model: where the vectors start: a model whose input embeddings are taken (a hub name, a folder or
                `package:NAME/FOLDER`), or a folder that this encoder's `save` wrote.
            max_tokens: where a text is cut.
        """

        model: str = "sentence-transformers/all-MiniLM-L6-v2"
        max_tokens: int = 512

    def __new__(cls, config: Config) -> MineModule:  # type: ignore[misc]
        from lmteach.weights import resolve

        from lmteach.scaffold.templates.encoder_module import MineModule  # isort: skip

        if config.max_tokens < 1:
            raise RecipeError(
                f"It is {config.max_tokens}; it must be 1 or more.", where="student.encoder.max_tokens"
            )
        saved = (Path(config.model) / "modules.json").is_file()  # and not a model of transformers
        return MineModule(config.model if saved else str(resolve(config.model)), max_tokens=config.max_tokens)
