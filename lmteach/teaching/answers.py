"""From a model's answer to a verdict: answer tokens, and strict readers of generated text. No torch.

Each reader has a version, since a changed reader reads the same answers differently: LlamBERT's authors
changed theirs between runs. None means that the answer could not be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

YES, NO = "yes", "no"
SURE = 5.0  # log-odds of an answer in plain words


def single_token_ids(tokenizer: Any, word: str) -> tuple[int, ...]:
    """Return the ids of all single tokens that spell `word`: any of three cases, with and without a space.

    Args:
        tokenizer: a transformers tokenizer, or anything that maps a text to `{"input_ids": [...]}`.
        word: what is answered, say "yes" or a letter.
    """
    cases = (word,) if len(word) == 1 else (word.lower(), word.capitalize(), word.upper())
    found: set[int] = set()
    for text in cases:
        for spelled in (text, f" {text}"):
            ids = tokenizer(spelled, add_special_tokens=False)["input_ids"]
            if len(ids) == 1:
                found.add(ids[0])
    return tuple(sorted(found))


def spellings(name: str) -> tuple[str, ...]:
    """Return the ways a model may write a class name in answer: as given, and with a small or capital
    first letter.
    """
    variants = (name, name[:1].lower() + name[1:], name[:1].upper() + name[1:])
    return tuple(dict.fromkeys(variants))


@dataclass(frozen=True)
class Reader:
    """A strict reader of generated answers: `read(answer, classes)` gives a class number, or None."""

    name: str
    version: int
    read: Callable[[str, Sequence[str]], int | None]

    @property
    def identity(self) -> str:
        """Name and version, for a teacher's identity."""
        return f"{self.name}-v{self.version}"


def _begins(answer: str, classes: Sequence[str]) -> int | None:
    """LMTX: the class found in the first ten characters; both or neither is unread."""
    return _only(answer.lower()[:10], classes)


def _contains(answer: str, classes: Sequence[str]) -> int | None:
    """LlamBERT: the answer is a class name, or holds exactly one of them."""
    text = answer.strip().lower().strip(".!\"'")
    exact = [i for i, name in enumerate(classes) if text == name.lower()]
    return exact[0] if len(exact) == 1 else _only(text, classes)


def _exact(answer: str, classes: Sequence[str]) -> int | None:
    """The answer is a class name and nothing else but case, spaces and a full stop."""
    text = answer.strip().lower().rstrip(".")
    exact = [i for i, name in enumerate(classes) if text == name.lower()]
    return exact[0] if len(exact) == 1 else None


def _only(text: str, classes: Sequence[str]) -> int | None:
    """Return the one class whose name stands in `text` as a whole word; a name inside a longer one does
    not count.
    """
    spans = []
    for i, name in enumerate(classes):
        pattern = rf"(?<!\w){re.escape(name.lower())}(?!\w)"
        spans += [(match.start(), match.end(), i) for match in re.finditer(pattern, text)]
    found = {i for a, b, i in spans if not any((c <= a and b <= d and (c, d) != (a, b)) for c, d, _ in spans)}
    return found.pop() if len(found) == 1 else None


READERS = {
    reader.name: reader
    for reader in (Reader("begins", 1, _begins), Reader("contains", 1, _contains), Reader("exact", 1, _exact))
}


def read_yes_no(answer: str, reader: str = "begins") -> bool | None:
    """Return what a generated yes/no answer says, or None.

    >>> read_yes_no("Yes, it is."), read_yes_no("no"), read_yes_no("I know nothing of it")
    (True, False, None)
    """
    found = READERS[reader].read(answer, (YES, NO))
    return None if found is None else found == 0


def sure_of(chosen: int | None, n: int) -> list[float | None] | None:
    """Return log-probabilities of n classes of which one was named in plain words."""
    if chosen is None:
        return None
    total = math.log(math.exp(SURE) + n - 1)
    return [(SURE if i == chosen else 0.0) - total for i in range(n)]
