"""Talks to a server over HTTP: many requests at once, asked again where that may help, none asked twice else.

What becomes of a request:
- answered;
- asked again, after a growing random wait: too many requests (429), an error of the server (5xx, 408, 409),
  a time-out, a dropped connection, a reply that is cut off or garbled;
- unread: its replies stayed garbled, or the server refuses this very text (too long, its content policy);
- not answered: the server is out of reach, the quota is spent, the key or model is wrong. That ends the
  batch: nothing further is sent, what is under way is waited for, and what was answered is kept.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from lmteach.errors import TeacherError, missing_package
from lmteach.teaching.remote_answers import GarbledError
from lmteach.teaching.remote_faults import Again, Refused, Secret, judge_status, retry_after

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FIRST_CONTACT = 2  # retries where there never was a connection: the address is wrong, or nothing runs there
_CERTAINLY_BROKEN = 8  # so many requests with only garbled replies are no accident


@dataclass(frozen=True)
class Limits:
    """How hard a server is asked.

    Attributes:
        concurrency: requests under way at once.
        timeout: seconds until a silent server counts as gone.
        max_retries: how often a request is asked again.
        first_wait: seconds, at most, before the first time; doubled each time.
        max_wait: seconds, at most, before any other, also where the server names a time.
    """

    concurrency: int = 16
    timeout: float = 60.0
    max_retries: int = 6
    first_wait: float = 0.5
    max_wait: float = 120.0


@dataclass
class Outcome(Generic[T]):
    """What became of the requests, in order: an answer, `UNREAD`, or None where none came.

    `broke` says what ended the batch early, None where nothing did.
    """

    answers: list[T | Unread | None]
    broke: TeacherError | None = None


class Unread:
    """The type of `UNREAD`."""


UNREAD = Unread()


class Server:
    """One server. Opens its connections at the first request.

    Args:
        base_url: up to and without `/chat/completions`.
        key: the key to show, which no message will.
        limits: how hard it is asked.

    Raises:
        TeacherError: `base_url` is no URL, or holds a password.
        PluginError: httpx is not installed.
    """

    def __init__(self, base_url: str, key: Secret, limits: Limits) -> None:
        self.base_url, self.limits = base_url.rstrip("/"), limits
        self._key = key
        self._client: httpx.Client | None = None
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TeacherError(f"'{base_url}' is no http address.", where="teacher.base_url")
        if "@" in parts.netloc:
            raise TeacherError(
                "The address must not hold a password.",
                where="teacher.base_url",
                mend="Put the key into an environment variable and name that: teacher.api_key_env.",
            )
        self.is_local = parts.hostname in LOOPBACK
        self._lock = threading.Lock()
        self._held_until = 0.0
        self._reasons: Counter[str] = Counter()
        self._has_answered = False

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, path: str, bodies: Sequence[Mapping[str, Any]], read: Callable[[bytes], T]) -> Outcome[T]:
        """Send all requests, some at once, and wait for all.

        Args:
            path: behind `base_url`.
            bodies: what to send as JSON.
            read: makes an answer of a reply's body; raises `GarbledError` where it cannot.
        """
        self._open()
        batch = _Batch(self, path, read)
        n_threads = max(1, min(self.limits.concurrency, len(bodies)))
        pool = ThreadPoolExecutor(n_threads, thread_name_prefix="lmteach-ask")
        try:
            answers = list(pool.map(batch.settle, bodies))
        finally:
            batch.stop.set()  # for whoever still waits, should the wait above be broken off by a signal
            pool.shutdown(wait=False, cancel_futures=True)
        if self._reasons:
            told = ", ".join(f"{n} x {reason}" for reason, n in sorted(self._reasons.items()))
            log.warning("%d requests, with faults: %s", len(bodies), told)
            self._reasons.clear()
        outcome = Outcome(answers, batch.broke)
        if len(bodies) >= _CERTAINLY_BROKEN and batch.n_garbled == len(bodies):
            outcome = Outcome([None] * len(bodies), self._not_a_server())
        return outcome

    def _not_a_server(self) -> TeacherError:
        return TeacherError(
            f"What answers at {self.base_url} sends no completions.",
            where="teacher.base_url",
            mend="The address usually ends in /v1.",
        )

    def _open(self) -> None:
        if self._client is not None:
            return
        try:
            import httpx
        except ImportError as error:
            raise missing_package(
                "httpx", needed_by="The teacher 'openai'", command='pip install "lmteach[openai]"'
            ) from error
        logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request otherwise
        n = self.limits.concurrency
        self._client = httpx.Client(
            headers=self._key.header(),
            timeout=self.limits.timeout,
            limits=httpx.Limits(max_connections=n, max_keepalive_connections=n),
            trust_env=not self.is_local,  # a proxy is for the world outside
        )

    def send(self, path: str, body: Mapping[str, Any], read: Callable[[bytes], T]) -> T:
        """Send one request once.

        Raises:
            Again: it may go better another time.
            Refused: the server will not answer this text.
            TeacherError: it will not answer at all.
        """
        import httpx

        assert self._client is not None
        request = self._client.build_request("POST", self.base_url + path, json=body)
        try:
            reply = self._client.send(request, stream=True)
        except httpx.TimeoutException as error:
            raise Again(f"no reply within {self.limits.timeout:g} s") from error
        except httpx.TransportError as error:
            if isinstance(error, httpx.ConnectError):
                raise Again("no connection", unreachable=not self._has_answered) from error
            raise Again("connection dropped") from error
        try:
            content = reply.read()
        except httpx.TransportError as error:
            raise Again("reply cut off", garbled=reply.status_code == httpx.codes.OK) from error
        except httpx.DecodingError as error:
            raise Again("reply garbled", garbled=True) from error
        finally:
            reply.close()
        self._has_answered = True
        judge_status(reply.status_code, content, retry_after(reply.headers), self._key, self.base_url)
        try:
            return read(content)
        except GarbledError as error:
            raise Again("reply garbled", garbled=True) from error

    def hold(self, seconds: float) -> None:
        """Let no request start for so long: the server asked for it."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    @property
    def held_for(self) -> float:
        """Seconds for which no request may start."""
        return self._held_until - time.monotonic()

    def note(self, reason: str) -> None:
        """Count a fault, for the log."""
        with self._lock:
            self._reasons[reason] += 1


class _Batch(Generic[T]):
    """The requests of one `ask`."""

    def __init__(self, server: Server, path: str, read: Callable[[bytes], T]) -> None:
        self._server, self._path, self._read = server, path, read
        self.stop = threading.Event()
        self.broke: TeacherError | None = None
        self.n_garbled = 0

    def settle(self, body: Mapping[str, Any]) -> T | Unread | None:
        """Ask until there is an answer, or there will be none."""
        try:
            return self._settle(body)
        except Exception as error:
            # Also what nobody foresaw: the other requests' answers are paid for.
            if not isinstance(error, TeacherError):
                cause, error = error, TeacherError(f"A request failed: {error!r}")
                error.__cause__ = cause
            self.broke = self.broke or error
            self.stop.set()
            return None

    def _settle(self, body: Mapping[str, Any]) -> T | Unread | None:
        limits, server = self._server.limits, self._server
        for attempt in range(limits.max_retries + 1):
            while not self.stop.is_set() and (held := server.held_for) > 0:
                self.stop.wait(held)
            if self.stop.is_set():
                return None
            try:
                return server.send(self._path, body, self._read)
            except Refused as refused:
                server.note(f"refused, hence unread ({str(refused)[:80]})")
                return UNREAD
            except Again as again:
                last = again
            if attempt == limits.max_retries or (last.unreachable and attempt >= _FIRST_CONTACT):
                break
            server.note(last.what)
            self._wait(last, attempt)
        if last.garbled:
            self.n_garbled += 1
            return UNREAD
        raise TeacherError(
            f"The server did not answer, asked {attempt + 1} times: {last}.",
            where=server.base_url,
            mend="Is it running, and the address right? What it answered is kept; run again to go on.",
        )

    def _wait(self, again: Again, attempt: int) -> None:
        limits = self._server.limits
        if again.wait is None:
            self.stop.wait(random.uniform(0.5, 1.0) * min(limits.max_wait, limits.first_wait * 2**attempt))
            return
        if again.wait > limits.max_wait:
            raise TeacherError(
                f"The server wants to be left alone for {again.wait:.0f} s: {again}.",
                where=self._server.base_url,
                mend=f"Run again later; what it answered is kept. Or raise max_wait ({limits.max_wait:g} s).",
            )
        self._server.hold(again.wait)
        self.stop.wait(random.uniform(0.0, limits.first_wait))
