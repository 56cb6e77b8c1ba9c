"""Three kinds of prompt through a server: judgements to requests, answers to scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lmteach.teaching.answers import READERS, SURE, Reader, read_yes_no, sure_of
from lmteach.teaching.listing import agreement, shuffled_groups
from lmteach.teaching.prompts import LETTERS, enumerate_candidates
from lmteach.teaching.remote_answers import (
    Answer,
    class_log_probs,
    distinct_at_once,
    letter_odds,
    yes_no_odds,
)
from lmteach.teaching.remote_prompts import RemotePrompt
from lmteach.types import Judgement

Mode = Literal["logprobs", "text"]
_LETTER = re.compile(r"\W*([A-Z])(?!\w)")


@dataclass(frozen=True)
class Options:
    """How answers are taken.

    Attributes:
        mode: from log-probabilities, or from words.
        top: how many alternatives a server is asked for.
        max_tokens: of an answer in words, and of a class name.
        reader: which reader of `lmteach.teaching.answers` reads words; empty = what suits the kind.
    """

    mode: Mode = "logprobs"
    top: int = 20
    max_tokens: int = 8
    reader: str = ""


@dataclass(frozen=True)
class Scores:
    """One judgement's scores, and numbers about it."""

    scores: tuple[float | None, ...]
    details: Mapping[str, float] = field(default_factory=dict)


class RemoteKind(Protocol):
    """One kind of prompt. An answer that could not be read is None."""

    def bodies(self, judgement: Judgement) -> list[dict[str, Any]]:
        """Return the requests that a judgement takes."""

    def scores(self, judgement: Judgement, answers: Sequence[Answer | None]) -> Scores:
        """Return the scores that the answers to these requests give."""


def make_kind(prompt: RemotePrompt, options: Options) -> RemoteKind:
    """Return the kind that a prompt asks for."""
    if prompt.prompt.kind == "pointwise":
        return Pointwise(prompt, options)
    return Listwise(prompt, options) if prompt.prompt.kind == "listwise" else Choice(prompt, options)


def reader_of(prompt: RemotePrompt, options: Options) -> Reader:
    """Return the reader of answers in words."""
    return READERS[options.reader or ("begins" if prompt.prompt.kind == "pointwise" else "contains")]


def _settings(prompt: RemotePrompt, options: Options, n_tokens: int) -> dict[str, Any]:
    """Return the part of a request that says how to answer."""
    if options.mode == "text":
        return {"temperature": 0, "max_tokens": options.max_tokens}
    asked = {"logprobs": True, "top_logprobs": options.top} if prompt.chat else {"logprobs": options.top}
    return {"temperature": 0, "max_tokens": n_tokens, **asked}


class Pointwise:
    """Log-odds of yes against no, a request for each candidate."""

    def __init__(self, prompt: RemotePrompt, options: Options) -> None:
        self._prompt, self._options = prompt, options
        self._reader = reader_of(prompt, options).name

    def bodies(self, judgement: Judgement) -> list[dict[str, Any]]:
        """See `RemoteKind`."""
        settings = _settings(self._prompt, self._options, 1)
        safe = self._prompt.safe_candidate
        return [
            {**self._prompt.body(judgement.document, candidate=safe(candidate)), **settings}
            for candidate in judgement.described
        ]

    def scores(self, judgement: Judgement, answers: Sequence[Answer | None]) -> Scores:
        """See `RemoteKind`."""
        return Scores(tuple(None if answer is None else self._read(answer) for answer in answers))

    def _read(self, answer: Answer) -> float | None:
        if self._options.mode == "logprobs":
            return yes_no_odds(answer.positions[0]) if answer.positions else None
        said = read_yes_no(answer.text.strip(), self._reader)
        return None if said is None else (SURE if said else -SURE)


class Choice:
    """Log-probability of each candidate as the answer, normalised over the candidates."""

    def __init__(self, prompt: RemotePrompt, options: Options) -> None:
        self._prompt, self._options = prompt, options
        self._reader = reader_of(prompt, options)

    def bodies(self, judgement: Judgement) -> list[dict[str, Any]]:
        """See `RemoteKind`."""
        names = self._names(judgement)
        n_tokens = 1 if distinct_at_once(names) else self._options.max_tokens
        listed = map(self._prompt.safe_candidate, judgement.described)
        body = self._prompt.body(judgement.document, candidates=", ".join(listed))
        return [{**body, **_settings(self._prompt, self._options, n_tokens)}]

    def scores(self, judgement: Judgement, answers: Sequence[Answer | None]) -> Scores:
        """See `RemoteKind`."""
        (answer,), names = answers, self._names(judgement)
        if answer is None:
            found = None
        elif self._options.mode == "logprobs":
            found = class_log_probs(answer, names)
        else:
            found = sure_of(self._reader.read(answer.text.strip(), names), len(names))
        return Scores(tuple(found) if found is not None else (None,) * len(names))

    def _names(self, judgement: Judgement) -> list[str]:
        return [self._prompt.safe_candidate(candidate) for candidate in judgement.candidates]


class Listwise:
    """All candidates in one prompt: log-odds of each one's letter against "none of these".

    Asked in a shuffled order and in its reverse, since models prefer some places in a list; the score is the
    mean, `consistency` the share of pairs of candidates that both orders rank alike.
    """

    def __init__(self, prompt: RemotePrompt, options: Options) -> None:
        self._prompt, self._options = prompt, options
        # One letter more than candidates ("none of these"), and no more than the server lists.
        self._largest = min(len(LETTERS), options.top) - 1 if options.mode == "logprobs" else len(LETTERS) - 1

    def _orders(self, judgement: Judgement) -> list[list[int]]:
        groups = shuffled_groups(judgement, max(1, self._largest))
        return [order for group in groups for order in (group, group[::-1])]

    def bodies(self, judgement: Judgement) -> list[dict[str, Any]]:
        """See `RemoteKind`."""
        safe = [self._prompt.safe_candidate(candidate) for candidate in judgement.described]
        lists = [enumerate_candidates([safe[i] for i in order]) for order in self._orders(judgement)]
        settings = _settings(self._prompt, self._options, 1)
        return [{**self._prompt.body(judgement.document, candidates=text), **settings} for text in lists]

    def scores(self, judgement: Judgement, answers: Sequence[Answer | None]) -> Scores:
        """See `RemoteKind`. Where one of the two orders cannot be read, its candidates are unread."""
        n = len(judgement.candidates)
        halves: list[list[float | None]] = [[None] * n, [None] * n]
        for row, (order, answer) in enumerate(zip(self._orders(judgement), answers, strict=True)):
            odds = None if answer is None else self._read(answer, len(order))
            for place, i in enumerate(order):
                halves[row % 2][i] = None if odds is None else odds[place]
        pairs = [(a, b) for a, b in zip(*halves, strict=True) if a is not None and b is not None]
        details = {"consistency": agreement(*zip(*pairs, strict=True))} if pairs else {}
        scores = tuple(None if a is None or b is None else (a + b) / 2 for a, b in zip(*halves, strict=True))
        return Scores(scores, details)

    def _read(self, answer: Answer, n: int) -> list[float] | None:
        if self._options.mode == "logprobs":
            return letter_odds(answer.positions[0], n) if answer.positions else None
        found = _LETTER.match(answer.text)
        place = LETTERS.index(found[1]) if found else n + 1
        return [SURE if i == place else -SURE for i in range(n)] if place <= n else None
