"""What the store keeps of a verdict, and under which key. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from lmteach.types import Usage

NO_USAGE = Usage()
_VERSION = b"lmteach-key-1"


@dataclass(frozen=True, slots=True)
class Record:
    """One kept answer: one teacher on one document and one candidate.

    Attributes:
        key: `pair_keys` or `list_keys` of what was asked.
        teacher: the teacher's identity.
        score: greater is more relevant; None = the answer could not be read (it was paid for all the same).
        raw: the answer's text, where text was generated.
        usage: this candidate's share of what the judgement cost.
        details: numbers about the whole judgement as JSON; list-wise teachers only, on the first candidate.
        created_at: seconds since the epoch, UTC; 0 = now.
        run: the run that paid for it.
    """

    key: bytes
    teacher: str
    score: float | None
    raw: str | None = None
    usage: Usage = NO_USAGE
    details: str | None = None
    created_at: float = 0.0
    run: str = ""

    @property
    def unread(self) -> bool:
        """Whether the answer could not be read."""
        return self.score is None


def pair_keys(identity: str, document: str, candidates: Sequence[str]) -> list[bytes]:
    """Return the keys (32 bytes each) of point-wise answers: teacher, document and candidate decide them."""
    begun = _begin(b"pair", identity, document)
    keys = []
    for candidate in candidates:
        digest = begun.copy()
        _add(digest, candidate)
        keys.append(digest.digest())
    return keys


def list_keys(identity: str, document: str, candidates: Sequence[str]) -> list[bytes]:
    """Return the keys of list-wise answers: the whole ordered list and the place in it decide them too."""
    begun = _begin(b"list", identity, document)
    for candidate in candidates:
        _add(begun, candidate)
    keys = []
    for place in range(len(candidates)):
        digest = begun.copy()
        digest.update(place.to_bytes(8, "big"))
        keys.append(digest.digest())
    return keys


def split_usage(usage: Usage, n: int) -> list[Usage]:
    """Share a judgement's cost among its n candidates, so that the shares add up to it again."""
    joules = None if usage.joules is None else usage.joules / n
    shares = []
    for i in range(n):
        prompt = usage.prompt_tokens * (i + 1) // n - usage.prompt_tokens * i // n
        answer = usage.answer_tokens * (i + 1) // n - usage.answer_tokens * i // n
        shares.append(Usage(prompt, answer, usage.seconds / n, usage.usd / n, joules))
    return shares


def _begin(scope: bytes, identity: str, document: str) -> hashlib._Hash:
    digest = hashlib.sha256(_VERSION + scope)
    _add(digest, identity)
    _add(digest, document)
    return digest


def _add(digest: hashlib._Hash, text: str) -> None:
    """Add a part with its length, so that no two different lists of parts read the same."""
    data = text.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)
