"""A finished run, exported; a server over it as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TEXTS = [
    "A note on bread, oven, flour, dough, salt, moon.",
    "A note on galaxy, comet, orbit, nebula, star, tax.",
    "guitar melody orchestra",
    "x",
    "A note on " + "court judge contract verdict " * 20,
]


@pytest.fixture(scope="session")
def run_folder(finished_run: tuple[Path, dict[str, Any]]) -> Path:
    """A finished run. Look, do not touch."""
    return finished_run[0]


@pytest.fixture(scope="session")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Path:
    """The run's student, exported with ONNX. Look, do not touch."""
    from lmteach.serving.export import ExportOptions, export_run
    from lmteach.tracking.console import Console

    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported") / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        export_run(run_folder, folder, ExportOptions(onnx=True), Console(quiet=True))
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported student, to be changed."""
    shutil.copytree(exported, tmp_path / "student")
    return tmp_path / "student"


@dataclass
class Server:
    """A running `lmteach serve`."""

    process: subprocess.Popen[str]
    url: str

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        return self._send(urllib.request.Request(self.url + path, headers=dict(headers or {})))

    def post(self, path: str, content: object, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        status, text = self._send(urllib.request.Request(self.url + path, body, sent, method="POST"))
        return status, json.loads(text)

    def _send(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


Start = Callable[..., Server]


def _start(folder: Path, *options: object, env: Mapping[str, str] | None = None) -> Server:
    command = [sys.executable, "-m", "lmteach.cli.main", "serve", folder, "--port", 0, *options]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"at (http://\S+:\d+)/", line)
        if found:
            server = Server(process, found[1])
            _wait(server)
            return server
    raise AssertionError(f"the server did not start: {''.join(said)}")


def _wait(server: Server) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if server.get("/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def _stop(server: Server) -> None:
    server.process.terminate()
    try:
        server.process.wait(20)
    except subprocess.TimeoutExpired:
        server.process.kill()
        raise


def _starting() -> Iterator[Start]:
    servers: list[Server] = []

    def starting(folder: Path, *options: object, env: Mapping[str, str] | None = None) -> Server:
        servers.append(_start(folder, *options, env=env))
        return servers[-1]

    yield starting
    for server in servers:
        _stop(server)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `lmteach serve FOLDER --port 0 OPTIONS`; all are stopped at the end."""
    yield from _starting()


@pytest.fixture(scope="module")
def serving() -> Iterator[Start]:
    """The same, for servers that a module's tests share."""
    yield from _starting()


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    """A server over the exported student, for tests that change nothing."""
    pytest.importorskip("fastapi")
    running = _start(exported, "--max-texts", 50, "--max-bytes", 20_000)
    yield running
    _stop(running)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, or the one that Playwright brought."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with playwright.sync_playwright() as running:
        try:
            opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no chromium here: {str(error).splitlines()[0]}")
        yield opened
        opened.close()
