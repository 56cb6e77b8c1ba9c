"""How the ranks of a run learn that one of them is gone: a connection each to the first, which closes by itself.

No rank can die without its connection's end reaching the first rank, which tells the others; a machine that falls
silent is noticed by TCP's keep-alive. Nothing is sent while all is well, so a busy rank is never taken for dead.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

GRACE = 20.0  # seconds that a process gets to end by an error of its own, before it is ended
JOINING = 300.0  # seconds for all ranks to appear


@dataclass(frozen=True)
class Lost:
    """A rank that left early: `said` is its error; without one it died, `how` where that is known."""

    rank: int
    process: str
    said: str = ""
    how: str = ""

    def __str__(self) -> str:
        end = f"ended: {self.said}" if self.said else f"died{self.how and ': ' + self.how}."
        return f"Rank {self.rank} ({self.process}) {end}"


@dataclass
class Watch:
    """One rank's view of the others.

    Attributes:
        lost: the first rank that left early; None while all are there.
        explain: says of a rank how it died, where this process can know.
    """

    rank: int
    lost: Lost | None = None
    explain: Callable[[int], str] = lambda rank: ""
    _closed: bool = False
    _lines: dict[int, socket.socket] = field(default_factory=dict)  # of the first rank: a connection each
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def leave(self, failed: str = "") -> None:
        """Say goodbye: `failed` = by what error; from here on nothing is watched."""
        with self._lock:
            self._closed = True
        message: dict[str, Any] = {"failed": failed, "rank": self.rank} if failed else {"left": self.rank}
        if failed and self.lost is not None:  # they should hear of the first one that left, not of this one
            message = {"lost": vars(self.lost)}
        for line in self._lines.values():
            _send(line, message)
            try:
                line.shutdown(socket.SHUT_WR)
            except OSError:
                continue

    def report(self, lost: Lost) -> None:
        """Note that a rank is gone, tell the others, and see to it that this process ends."""
        with self._lock:
            if self._closed or self.lost is not None:
                return
            self.lost = lost
            for rank, line in self._lines.items():
                if self.rank == 0 and rank != lost.rank:
                    _send(line, {"lost": vars(lost)})
        threading.Thread(target=self._end_late, daemon=True).start()

    def _end_late(self) -> None:
        """End a process that hangs in a collective operation with the rank that is gone."""
        time.sleep(GRACE)
        if not self._closed:
            print(f"lmteach: {self.lost}", file=sys.stderr, flush=True)
            os._exit(1)

    def follow(self, messages: TextIO, rank: int, process: str) -> None:
        """Read what another rank says until its connection ends."""
        with messages:
            try:
                for text in messages:
                    message = json.loads(text)
                    if "left" in message:
                        return
                    if "lost" in message:
                        self.report(Lost(**message["lost"]))
                        return
                    if "failed" in message:
                        self.report(Lost(rank, process, message["failed"]))
                        return
            except (OSError, ValueError):
                pass
        self.report(Lost(rank, process, how=self.explain(rank)))


class Listener:
    """The first rank's end: accepts the others."""

    def __init__(self, host: str = "") -> None:
        self.socket = socket.create_server((host, 0), backlog=1024)
        self.token = secrets.token_hex(16)  # so that a stranger on the network is none of us

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def accept_all(self, n_ranks: int, explain: Callable[[int], str]) -> Watch:
        """Return the watch once all other ranks are connected.

        Args:
            explain: how a rank ended, where this process can know; empty while it runs.

        Raises:
            TimeoutError: some did not come.
        """
        watch, until = Watch(0, explain=explain), time.monotonic() + JOINING
        while len(watch._lines) < n_ranks - 1:
            missing = sorted(set(range(1, n_ranks)) - set(watch._lines))
            ended = {rank: how for rank in missing if (how := explain(rank))}
            if ended or time.monotonic() > until:
                raise TimeoutError(f"no sign of ranks {missing} {ended or ''}".rstrip())
            self.socket.settimeout(1.0)
            try:
                line, _ = self.socket.accept()
            except TimeoutError:
                continue
            line.settimeout(10)
            messages = line.makefile(encoding="utf-8")
            try:
                hello = json.loads(messages.readline())
                if hello["token"] != self.token:
                    raise ValueError
            except (OSError, ValueError, KeyError, TypeError):
                messages.close()
                line.close()
                continue
            _keep_alive(line)
            watch._lines[int(hello["rank"])] = line
            _start(watch, messages, int(hello["rank"]), str(hello["process"]))
        self.socket.close()
        return watch


def connect(host: str, port: int, token: str, rank: int, first_process: str) -> Watch:
    """Return another rank's watch, connected to the first."""
    line = socket.create_connection((host, port), timeout=JOINING)
    _send(line, {"token": token, "rank": rank, "process": this_process()})
    _keep_alive(line)
    watch = Watch(rank, _lines={0: line})
    _start(watch, line.makefile(encoding="utf-8"), 0, first_process)
    return watch


def this_process() -> str:
    """Return how messages name this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _start(watch: Watch, messages: TextIO, rank: int, process: str) -> None:
    threading.Thread(target=watch.follow, args=(messages, rank, process), daemon=True).start()


def _keep_alive(line: socket.socket) -> None:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _send(line: socket.socket, message: dict[str, Any]) -> None:
    try:
        line.sendall((json.dumps(message) + "\n").encode())
    except OSError:  # its reader hears of the other's end anyway
        return
