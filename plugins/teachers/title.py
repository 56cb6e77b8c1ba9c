"""The `title` teacher (MACLR): a document's title is its pseudo-label, and is taken out of the text.

No language model and no label set. Source: MACLR, arXiv 2112.08652, a baseline in LMTX's comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmteach.errors import TeacherError
from lmteach.teaching.protocol import TeacherResources
from lmteach.types import Document

_AFTER_TITLE = " \t\r\n:.-–—|"


class TitleTeacher:
    """Makes (body, title) pairs; it cannot judge labels. A `PairTeacher`."""

    @dataclass
    class Config:
        """Keys of `teacher:` with `name: title`.

        Attributes:
            source: where the title is found: in the corpus's own field, or in the text up to the first tab or
                line end (the texts of the large XMC sets are title, tab, content).
            max_words: a longer title is none.
        """

        source: Literal["field", "first_line"] = "field"
        max_words: int = 64

    def __init__(self, config: Config, resources: TeacherResources) -> None:
        if config.source not in ("field", "first_line"):
            raise TeacherError(f"No title is found in '{config.source}'.", where="teacher.source")
        if config.max_words < 1:
            raise TeacherError("A title has at least one word.", where="teacher.max_words")
        self.config = config

    @property
    def identity(self) -> str:
        """Where titles are found."""
        return f"title v1 source={self.config.source} max_words={self.config.max_words}"

    def pairs(self, documents: Sequence[Document], seed: int) -> list[tuple[str, str] | None]:
        """Return (body, title) of each document, whatever the seed; None for one without title or body."""
        return [self._split(document) for document in documents]

    def close(self) -> None:
        """Nothing to free."""

    def _split(self, document: Document) -> tuple[str, str] | None:
        text = document.text.strip()
        if self.config.source == "field":
            title = document.title.strip()
            body = text[len(title) :] if _begins_with(text, title) else text
        else:
            title = text.splitlines()[0].split("\t")[0].strip() if text else ""
            body = text[len(title) :]
        body = body.lstrip(_AFTER_TITLE)
        if not title or not body or len(title.split()) > self.config.max_words:
            return None
        return body, title


def _begins_with(text: str, title: str) -> bool:
    """Whether the text begins with the title as a whole: 'Cat' does not begin 'Category'."""
    return text.startswith(title) and not text[len(title) : len(title) + 1].isalnum()
