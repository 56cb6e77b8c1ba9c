"""A proxy on loopback that spoils a set share of what passes through it: drops, delays, cuts, garbles, refuses.

Which fault befalls a request hangs on (seed, request body, how often that body came) alone, so threads make no
difference. It keeps what it was sent, what it passed on and what it gave back whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

BEFORE = ("drop_before", "429", "429_soon", "500", "503", "quota", "401", "404", "hang", "html")
Memory = dict[tuple[str, bytes], tuple[int, bytes]]
AFTER = ("drop_after", "truncate", "garble", "delay", "slow")


@dataclass
class Faults:
    """Which faults at which rates (they may not add up to more than 1).

    Before the request is passed on: `drop_before` (connection closed), `429`, `429_soon` (with Retry-After),
    `500`, `503`, `quota`, `401`, `404`, `hang` (silent for `seconds`, then closed). After: `drop_after` (answer
    thrown away, connection closed), `truncate` (half the answer, then closed), `garble` (half the answer, passed
    off as whole), `html` (a page instead), `delay` (the answer comes after `seconds`), `slow` (after a tenth).
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 3.0
    only_first: int | None = None  # spare a body that came so many times
    begin_at: int = 0  # spare so many requests at first

    def pick(self, body: bytes, n_before: int, n_requests: int) -> str:
        """Return the fault that befalls a body that came `n_before` times, or "" for none."""
        assert set(self.rates) <= {*BEFORE, *AFTER}, self.rates
        if n_requests < self.begin_at or (self.only_first is not None and n_before >= self.only_first):
            return ""
        digest = hashlib.sha256(f"{self.seed} {n_before} ".encode() + body).digest()
        draw = int.from_bytes(digest[:8], "big") / 2**64
        for name, rate in self.rates.items():
            draw -= rate
            if draw < 0:
                return name
        return ""


class FaultProxy:
    """Serves as long as its context lasts.

    Args:
        upstream: the address of the server behind.
        faults: what is spoilt.
        memory: what the server behind answered to which request: kept in it, and answered from it.
        change: what is done to every answer.

    Attributes:
        sent: requests by body, as they came.
        passed: requests by body, as they got through.
        reached: requests by body, as the server behind saw them.
        whole: requests by body whose answer was given back unspoilt.
        spoilt: faults by name.
        most_at_once: the most requests that were under way at the same time.
    """

    def __init__(
        self,
        upstream: str,
        faults: Faults | None = None,
        memory: Memory | None = None,
        change: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.upstream, self.faults = urlsplit(upstream), faults or Faults()
        self.memory, self.change = memory, change
        self.sent: Counter[bytes] = Counter()
        self.passed: Counter[bytes] = Counter()
        self.reached: Counter[bytes] = Counter()
        self.whole: Counter[bytes] = Counter()
        self.spoilt: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self._under_way = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up

    @property
    def url(self) -> str:
        """What to give as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def forget(self) -> None:
        """Count anew."""
        for counter in (self.sent, self.passed, self.reached, self.whole, self.spoilt):
            counter.clear()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Serve one request, spoiling it or not."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            fault = self.faults.pick(body, self.sent[body], self.sent.total())
            self.sent[body] += 1
            self.spoilt.update([fault] if fault else [])
            self.headers.append(dict(handler.headers))
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            if fault in BEFORE:
                self._refuse(handler, fault)
            else:
                self._pass_on(handler, body, fault)
        finally:
            with self._lock:
                self._under_way -= 1

    def _refuse(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        if fault in ("drop_before", "hang"):
            time.sleep(self.faults.seconds if fault == "hang" else 0)
            _close(handler)
            return
        if fault == "html":
            _reply(handler, 200, b"<html>hi</html>")
            return
        status = {"429_soon": 429, "quota": 429}.get(fault) or int(fault)
        error = {"message": f"made up: {fault}", "type": "made_up", "param": None, "code": None}
        if fault == "quota":
            error |= {"type": "insufficient_quota", "code": "credit_balance_exhausted"}
        if fault == "401":  # as some servers do
            error["message"] = f"Incorrect API key provided: {handler.headers['Authorization']}"
        headers = {"Retry-After": "0.2"} if fault == "429_soon" else {}
        _reply(handler, status, json.dumps({"error": error}).encode(), headers)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes, fault: str) -> None:
        with self._lock:
            self.passed[body] += 1
        status, answer = self._ask(handler, body)
        if self.change is not None:
            answer = json.dumps(self.change(json.loads(answer))).encode()
        if fault in ("delay", "slow"):
            time.sleep(self.faults.seconds / (1 if fault == "delay" else 10))
        if fault == "drop_after":
            _close(handler)
        elif fault == "truncate":
            _reply(handler, status, answer[: len(answer) // 2], {"Content-Length": str(len(answer))})
            _close(handler)
        elif fault == "garble":
            _reply(handler, status, answer[: len(answer) // 2])
        else:
            _reply(handler, status, answer)
            if fault != "delay":
                with self._lock:
                    self.whole[body] += 1

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        key = (handler.path, body)
        if self.memory is not None and key in self.memory:
            return self.memory[key]
        with self._lock:
            self.reached[body] += 1
        assert self.upstream.hostname is not None
        connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=300)
        try:
            headers = {"Content-Type": "application/json"}
            if handler.headers["Authorization"]:
                headers["Authorization"] = handler.headers["Authorization"]
            connection.request("POST", handler.path, body, headers)
            reply = connection.getresponse()
            status, answer = reply.status, reply.read()
        finally:
            connection.close()
        if self.memory is not None:
            self.memory[key] = status, answer
        return status, answer


def _reply(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    handler.send_response(status)
    told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    for name, value in told.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def _close(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)
