"""The words the whole house shares: documents, judgements, verdicts. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["pair", "list", "none"]
"""What a teacher's verdict depends on, hence how the store may keep it.

`pair`: each score is a function of (teacher identity, document, candidate) alone.
`list`: the scores depend on the whole candidate list and its order.
`none`: they depend on more (the student's scores, gold) or cost nothing; never stored.
"""


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus. `labels` are gold label ids, or None where there is no gold."""

    id: str
    text: str
    labels: tuple[int, ...] | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A request: how well does each of K candidates fit this document?

    `label_ids`, `student_scores` and `descriptions` run parallel to `candidates`, or are empty where not known.
    `title` and `document_id` serve teachers that need no language model (`title`, `oracle`, `replay`).
    """

    document: str
    candidates: tuple[str, ...]
    document_id: str = ""
    title: str = ""
    label_ids: tuple[int, ...] = ()
    student_scores: tuple[float, ...] = ()
    descriptions: tuple[str, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        """The candidates as a prompt shows them: each with its description in brackets, where it has one."""
        if not self.descriptions:
            return self.candidates
        pairs = zip(self.candidates, self.descriptions, strict=True)
        return tuple(f"{name} ({said})" if said else name for name, said in pairs)

    @property
    def questions(self) -> tuple[str, ...]:
        """What each candidate's score is an answer to, besides the document: the name, and its description."""
        if not self.descriptions:
            return self.candidates
        pairs = zip(self.candidates, self.descriptions, strict=True)
        return tuple(f"{name}\0{said}" if said else name for name, said in pairs)


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering a judgement cost. Unknown quantities are 0, never guessed; `joules` None = not measured."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    usd: float = 0.0
    joules: float | None = None

    def __add__(self, other: Usage) -> Usage:
        joules = (
            None if self.joules is None and other.joules is None else (self.joules or 0) + (other.joules or 0)
        )
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
            self.seconds + other.seconds,
            self.usd + other.usd,
            joules,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A teacher's answer to one Judgement.

    `scores` runs parallel to the candidates: log-odds of relevance (point-wise), a likelihood gain, or class
    log-probabilities; greater is more relevant; None = the answer could not be read. `raw` holds the answers'
    text where text was generated, parallel to the candidates or one for all. `details` holds numbers about the
    whole judgement (say `consistency` of two shuffles).
    """

    scores: tuple[float | None, ...]
    raw: tuple[str, ...] = ()
    usage: Usage = Usage()
    details: Mapping[str, float] = field(default_factory=dict)
