"""What a server's refusals mean: ask again, leave this text, or give up. Standard library only."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from lmteach.errors import TeacherError

_QUOTA = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "billing_not_active",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "project_spend_limit_exceeded",
}
_THIS_TEXT = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "content_policy_violation",
    "content_filter",
    "invalid_prompt",
    "string_above_max_length",
}
_TOO_LONG = re.compile(
    r"context (length|size|window)|maximum (model|input) length|too many tokens|too long", re.I
)
_OK, _PAYMENT, _FORBIDDEN, _UNAUTHORISED, _MISSING, _TOO_MANY = 200, 402, 403, 401, 404, 429
_PASSING = {408, 409, 425, _TOO_MANY}


class Again(Exception):  # noqa: N818
    """A request may go better another time.

    Args:
        what: what went wrong.
        wait: seconds that the server wants to be left alone, None where it does not say.
        told: what the server said.
        garbled: there was a reply, and it could not be read.
        unreachable: there was no connection at all.
    """

    def __init__(
        self,
        what: str,
        wait: float | None = None,
        *,
        told: str = "",
        garbled: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(f"{what}: {told}" if told else what)
        self.what, self.wait, self.garbled, self.unreachable = what, wait, garbled, unreachable


class Refused(Exception):  # noqa: N818
    """The server will not answer this text, and may answer others."""


@dataclass(frozen=True, repr=False)
class Secret:
    """A key in an environment variable: known by the variable's name, and never shown."""

    variable: str

    def __post_init__(self) -> None:
        if self.variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.variable):
            # The text is not repeated: it may be the key itself.
            raise TeacherError(
                "api_key_env must be the name of an environment variable, and is none.",
                where="teacher.api_key_env",
                mend="Put the key into a variable, say OPENAI_API_KEY, and write that name.",
            )

    @property
    def is_set(self) -> bool:
        """Whether there is a key."""
        return bool(self._value)

    @property
    def _value(self) -> str:
        return os.environ.get(self.variable, "").strip() if self.variable else ""

    def header(self) -> dict[str, str]:
        """Return the header that shows the key to a server.

        Raises:
            TeacherError: what the variable holds cannot be a key.
        """
        if not self._value.isascii() or any(c.isspace() for c in self._value):
            raise TeacherError(f"What {self.variable} holds is no key.", where="teacher.api_key_env")
        return {"Authorization": f"Bearer {self._value}"} if self.is_set else {}

    def hide(self, text: str) -> str:
        """Return a text without the key: some servers repeat it in their complaints."""
        return text.replace(self._value, "***") if self.is_set else text

    def __repr__(self) -> str:
        return f"Secret({self.variable!r})"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a reply asks to wait, as milliseconds, seconds or a date; None = it does not.

    >>> retry_after({"retry-after": "2.5"}), retry_after({"retry-after-ms": "40"}), retry_after({})
    (2.5, 0.04, None)
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\s*\d+(\.\d*)?\s*", value):
            return float(value) * scale
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


_MENDS = {
    "logprob": "Set `answers: text`, or lower `top_logprobs`, where the model gives no log-probabilities.",
    "max_tokens": "Set `extra: {max_tokens: null, max_completion_tokens: 1}`.",
    "temperature": "Set `extra: {temperature: null}`.",
}
"""What to change where a server's words about a bad request name a field."""


def judge_status(status: int, content: bytes, wait: float | None, key: Secret, base_url: str) -> None:
    """Return where a reply holds an answer; else say what its status means.

    Raises:
        Again, Refused, TeacherError: see `lmteach.teaching.remote`.
    """
    error = _error(content)
    if status == _OK and error is None:
        return
    error = error or {}
    words = {str(error.get(name)).lower() for name in ("code", "type")}
    told = key.hide(" ".join(str(error.get("message") or "no reason given").split())[:300])
    if status == _OK:  # some gateways wrap another server's error in a success
        codes = [int(word) for word in words if re.fullmatch(r"[45]\d\d", word)]
        status = codes[0] if codes else 500
    if words & _QUOTA or status == _PAYMENT:
        raise TeacherError(
            f"The quota of the key in {key.variable} is spent: {told}",
            where=base_url,
            mend="Add credit or raise the limit, then run again: what was answered is kept.",
        )
    if status in (_UNAUTHORISED, _FORBIDDEN):
        what, mend = _key_trouble(key)
        raise TeacherError(f"The server refuses {what} ({status}): {told}", where=base_url, mend=mend)
    if status in _PASSING or status >= 500:
        what = "too many requests (429)" if status == _TOO_MANY else f"an error of the server ({status})"
        raise Again(what, wait, told=told)
    if words & _THIS_TEXT or _TOO_LONG.search(told):
        raise Refused(told)
    if status == _MISSING:
        raise TeacherError(
            f"The server knows no such model or address ({status}): {told}",
            where=base_url,
            mend="Check teacher.model and teacher.base_url, which usually ends in /v1.",
        )
    mend = next(
        (mend for word, mend in _MENDS.items() if word in told), "`extra` sets or drops (null) fields."
    )
    raise TeacherError(f"The server refuses the request ({status}): {told}", where=base_url, mend=mend)


def _key_trouble(key: Secret) -> tuple[str, str]:
    """Return what a server refused, and how to mend it."""
    if key.is_set:
        return f"the key in {key.variable}", f"Put a key that may use this model into {key.variable}."
    if key.variable:
        return "a request without a key", f"Put a key into {key.variable}, which is not set."
    mend = "Put a key into an environment variable and name that: teacher.api_key_env."
    return "a request without a key", mend


def _error(content: bytes) -> dict[str, Any] | None:
    """Return the error that a body reports, in any of the usual forms; None where it reports none."""
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(reply, dict) or reply.get("choices"):
        return None
    error = reply.get(
        "error", reply if "message" in reply and "choices" not in reply else reply.get("detail")
    )
    if error is None:
        return None
    return (
        error
        if isinstance(error, dict)
        else {"message": error if isinstance(error, str) else json.dumps(error)}
    )
