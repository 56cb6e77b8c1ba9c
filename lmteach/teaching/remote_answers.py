"""From a server's reply to an answer, and from its first tokens' log-probabilities to scores. No torch.

A reply lists only the likeliest tokens (20 at most on most servers). A token that is not listed is at most as
likely as the last one that is, and as what is left of 1; scores take that bound for it, so they err towards
not knowing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmteach.teaching.answers import NO, YES
from lmteach.teaching.prompts import LETTERS
from lmteach.teaching.records import NO_USAGE
from lmteach.types import Usage

_IMPOSSIBLE = -100.0  # below this a log-probability is a placeholder (-9999) or rounding
_OPENING = " \t\r\n\"'`*_([{\u2581\u0120"  # what may stand in front of an answer, token marks included
_CLOSING = " \t\r\n\"'`*_)]}.,:;!\u2581\u0120"


class GarbledError(ValueError):
    """A reply that is no completion: cut off, not JSON, or without what every completion has."""


@dataclass(frozen=True)
class Position:
    """One token of an answer: what was said, and what else might have been.

    `log_probs` holds what was said too; tokens that read the same are added up.
    """

    token: str
    log_probs: Mapping[str, float]

    @property
    def bound(self) -> float:
        """The most that the log-probability of a token may be that is not listed."""
        listed = [value for value in self.log_probs.values() if value > _IMPOSSIBLE]
        left = 1.0 - sum(math.exp(value) for value in listed)
        return min([*listed, math.log(max(left, math.exp(_IMPOSSIBLE)))])


@dataclass(frozen=True)
class Answer:
    """What a server answered. `ended` = the model ended it, rather than the limit on tokens."""

    text: str
    positions: tuple[Position, ...] = ()
    ended: bool = True
    usage: Usage = NO_USAGE


def read_reply(body: bytes) -> Answer:
    """Return the answer in a reply to either kind of request (chat, or text to continue).

    Raises:
        GarbledError: it is no completion.
    """
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        return Answer(
            text=_without_thoughts(str(text or "")),
            positions=_positions(choice.get("logprobs")),
            ended=choice.get("finish_reason") not in ("length", None),
            usage=_usage(reply.get("usage")),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise GarbledError(f"{type(error).__name__}: {error}") from error


def _without_thoughts(text: str) -> str:
    """Drop what a reasoning model says to itself before its answer."""
    return text.rpartition("</think>")[2]


def _usage(record: Any) -> Usage:
    if not isinstance(record, dict):
        return NO_USAGE
    counts = [record.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if isinstance(count, int) and count > 0 else 0 for count in counts))


def _positions(record: Any) -> tuple[Position, ...]:
    """Return what a reply says of each token; nothing where it says nothing."""
    if not isinstance(record, dict):
        return ()
    if isinstance(record.get("content"), list):
        return tuple(
            _position(
                entry["token"],
                entry["logprob"],
                [(other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ()],
            )
            for entry in record["content"]
        )
    tops = record.get("top_logprobs") or ()
    own = zip(record.get("tokens") or (), record.get("token_logprobs") or (), strict=True)
    return tuple(
        _position(token, value, list((tops[i] or {}).items())) for i, (token, value) in enumerate(own)
    )


def _position(token: str, log_prob: Any, tops: Sequence[tuple[str, Any]]) -> Position:
    """Make a position. What was said usually stands among the likeliest again, and counts once."""
    listed = tops if any(text == token for text, _ in tops) else [(token, log_prob), *tops]
    sums: dict[str, float] = {}
    for text, value in listed:
        if isinstance(value, int | float) and not math.isnan(value):
            sums[text] = log_sum((sums[text], float(value))) if text in sums else float(value)
    return Position(str(token), sums)


def log_sum(values: Sequence[float]) -> float:
    """Return log(sum(exp(values))); minus infinity for none."""
    top = max(values, default=-math.inf)
    return top if math.isinf(top) else top + math.log(sum(math.exp(value - top) for value in values))


def _said(position: Position, word: str, *, any_case: bool) -> float | None:
    """Return the log-probability of a word in all its spellings, None where none of them is listed."""
    found = []
    for text, value in position.log_probs.items():
        bare = text.lstrip(_OPENING).rstrip(_CLOSING)
        if (bare.casefold() if any_case else bare) == word and value > _IMPOSSIBLE:
            found.append(value)
    return log_sum(found) if found else None


def yes_no_odds(position: Position) -> float | None:
    """Return the log-odds of yes against no; None where neither is among the likeliest tokens."""
    yes, no = _said(position, YES, any_case=True), _said(position, NO, any_case=True)
    if yes is None and no is None:
        return None
    return (position.bound if yes is None else yes) - (position.bound if no is None else no)


def letter_odds(position: Position, n: int) -> list[float] | None:
    """Return the log-odds of each of the first n letters against the next one, "none of these".

    None where no letter is among the likeliest tokens.
    """
    said = [_said(position, letter, any_case=False) for letter in LETTERS[: n + 1]]
    if all(value is None for value in said):
        return None
    *own, none = (position.bound if value is None else value for value in said)
    return [value - none for value in own]


def class_log_probs(answer: Answer, classes: Sequence[str]) -> list[float | None] | None:
    """Return the log-probability of each class as the answer, normalised over the classes.

    Follows the answer token by token while it might still become several classes, and counts at each token
    what else might have been said. What might still become several classes beside the answer's own path is
    shared among them equally. None where no class is to be seen, and for a class without a name.
    """
    names = [" ".join(name.split()).casefold() for name in classes]
    found: list[list[float]] = [[] for _ in names]
    bounds = [-math.inf] * len(names)
    path, so_far = "", 0.0
    for position in answer.positions:
        for text, value in position.log_probs.items():
            if text != position.token:
                _credit(found, names, path + text, so_far + value, ended=not text)
        for i, name in enumerate(names):
            if name.startswith(_begun(path)):
                bounds[i] = max(bounds[i], so_far + position.bound)
        path += position.token
        so_far += position.log_probs.get(position.token, -math.inf)
        if _begun(path) and sum(name.startswith(_begun(path)) for name in names) < 2:
            break
    _credit(found, names, path, so_far, ended=answer.ended)
    if not any(found):
        return None
    sums = [log_sum(own) if own else bound for own, bound in zip(found, bounds, strict=True)]
    total = log_sum(sums)
    return [
        max(value - total, _IMPOSSIBLE) if name else None for value, name in zip(sums, names, strict=True)
    ]


def _begun(text: str) -> str:
    return text.lstrip(_OPENING).casefold()


def _credit(found: list[list[float]], names: Sequence[str], text: str, value: float, *, ended: bool) -> None:
    """Give an answer's log-probability to the class that it is, or to those that it may become."""
    bare = _begun(text)
    if not bare or value <= _IMPOSSIBLE:
        return
    whole = [i for i, name in enumerate(names) if _is_said(bare, name)]
    opens = [i for i, name in enumerate(names) if _may_become(bare, name)]
    if ended and bare in names:
        opens = []
    longest = max((len(names[i]) for i in whole), default=0)
    given = opens or [i for i in whole if len(names[i]) == longest]
    for i in given:
        found[i].append(value - math.log(len(given)))


def _may_become(text: str, name: str) -> bool:
    """Whether `text` is the beginning of `name`; a lone letter says nothing, it may as well be a word."""
    return name.startswith(text) and (len(text) > 1 or text == name)


def _is_said(text: str, name: str) -> bool:
    """Whether `text` begins with the whole word `name`."""
    rest = text[len(name) :]
    return bool(name) and text.startswith(name) and not (rest[:1].isalnum() or rest[:1] == "_")


def distinct_at_once(classes: Sequence[str]) -> bool:
    """Whether the first letter tells the classes apart, so that one token of answer is enough.

    >>> distinct_at_once(["Positive", "negative"]), distinct_at_once(["sport", "Science"])
    (True, False)
    """
    firsts = [_begun(name)[:1] for name in classes]
    return len(set(firsts)) == len(firsts)


def log_probs_problem(first: Answer, second: Answer) -> str | None:
    """Return why the log-probabilities of two unlike questions cannot be trusted, None if they can."""
    positions = [answer.positions[0] for answer in (first, second) if answer.positions]
    if len(positions) < 2:
        return "it sends no log-probabilities"
    if any(position.token.strip() in ("<think>", "<|channel|>") for position in positions):
        return "the model thinks before it answers, so that its first token is no answer"
    for position in positions:
        values = list(position.log_probs.values())
        if len(values) < 2:
            return "it sends no alternatives to the token it chose (top_logprobs)"
        if max(values) > 1e-6 or sum(math.exp(value) for value in values) > 1.01:
            return "what it sends are no log-probabilities: they add up to more than 1"
        if max(values) - min(values) < 1e-9:
            return "all tokens have the same log-probability"
    if positions[0].log_probs == positions[1].log_probs:
        return "two unlike questions got the same log-probabilities"
    if all(len([v for v in p.log_probs.values() if v > _IMPOSSIBLE]) < 2 for p in positions):
        return "the token it chose always has probability 1 (they were taken after sampling at temperature 0)"
    return None
