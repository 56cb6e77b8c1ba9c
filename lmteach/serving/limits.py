"""What stands in front of the app: a bearer token, a limit on a request's size and time, headers for browsers."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmteach.serving.meters import Meters

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/", "/docs", "/health", "/openapi.json")  # they say nothing that a token protects
BROWSER_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Gate:
    """Lets through what may pass, with its whole body read.

    Args:
        app: what is behind.
        token: asked for as `Authorization: Bearer TOKEN` on all but `OPEN_PATHS` and `/static`; None = nobody is asked.
        max_bytes: of a body.
        seconds: to read a body in.
    """

    def __init__(self, app: App, *, token: str | None, max_bytes: int, seconds: float) -> None:
        self.app, self.token = app, token
        self.max_bytes, self.seconds = max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if not self._may_pass(scope["path"], headers.get(b"authorization", b"")):
            await _refuse(send, 401, "A bearer token is needed.", [(b"www-authenticate", b"Bearer")])
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_bytes:
            await _refuse(send, 413, f"A request may have {self.max_bytes:,} bytes.")
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await self._read(receive)
        except TimeoutError:
            await _refuse(send, 408, f"The request did not arrive within {self.seconds:g} s.")
            return
        if body is None:
            await _refuse(send, 413, f"A request may have {self.max_bytes:,} bytes.")
            return
        await self.app(scope, _replayed(body, receive), _with_headers(send))

    def _may_pass(self, path: str, authorization: bytes) -> bool:
        if self.token is None or path in OPEN_PATHS or path.startswith("/static/"):
            return True
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token.encode())

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body; None where it is too long."""
        parts: list[bytes] = []
        n = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            n += len(parts[-1])
            if n > self.max_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


class Measured:
    """Counts requests, and times them.

    Args:
        app: what is behind.
        meters: where they are counted.
    """

    def __init__(self, app: App, *, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # The route's path, never the path as asked: anyone may ask for anything.
            path = getattr(scope.get("route"), "path", "other")
            self.meters.request(path, status, time.perf_counter() - start)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()  # that the client went away
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *BROWSER_HEADERS]
        await send(message)

    return sending


async def _refuse(
    send: Send, status: int, what: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps({"detail": what}).encode()
    extra = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # The rest of a body that was refused is not read, so the connection cannot be used again.
    extra += [(b"connection", b"close"), *BROWSER_HEADERS, *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": extra})
    await send({"type": "http.response.body", "body": body})
