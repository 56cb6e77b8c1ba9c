"""A PostgreSQL server of our own, and teachers whose calls can be counted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lmteach.types import Judgement, Scope, Usage, Verdict

POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


class CountingTeacher:
    """Scores by a function of (document, candidate) and remembers what it was asked."""

    Config: ClassVar[type[Any]] = object

    def __init__(
        self,
        score: Callable[[str, str], float | None],
        scope: Scope = "pair",
        identity: str = "counting",
        usage: Usage | None = None,
    ) -> None:
        self.score, self.scope, self.identity = score, scope, identity
        self.usage = usage or Usage(10, 2, 0.5, 0.01)
        self.asked: list[Judgement] = []
        self.batches: list[int] = []

    def judge(self, batch: Sequence[Judgement]) -> list[Verdict]:
        self.asked += batch
        self.batches.append(len(batch))
        return [
            Verdict(
                tuple(self.score(j.document, c) for c in j.candidates),
                tuple(f"raw {c}" for c in j.candidates),
                self.usage,
                {"consistency": 0.75} if self.scope == "list" else {},
            )
            for j in batch
        ]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(j.document, c) for j in self.asked for c in j.candidates]

    def close(self) -> None:
        pass


def word_score(document: str, candidate: str) -> float | None:
    """A score that any process computes alike."""
    return float(sum(map(ord, document + candidate)) % 19 - 9)


@pytest.fixture
def counting() -> Callable[..., CountingTeacher]:
    def build(score: Callable[[str, str], float | None] = word_score, **keys: Any) -> CountingTeacher:
        return CountingTeacher(score, **keys)

    return build


def _find_binary(name: str) -> str | None:
    if found := shutil.which(name):
        return str(Path(found).resolve())
    for pattern in POSTGRES_FOLDERS:
        for folder in sorted(Path("/").glob(pattern[1:]), reverse=True):
            if (folder / name).is_file():
                return str(folder / name)
    return None


def _as_other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`."""
    if os.getuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL server from the binaries of this machine; yield a URL without a database's name."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    initdb, server = _find_binary("initdb"), _find_binary("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL binaries (initdb, postgres) on this machine")
    user = _as_other_user()
    with tempfile.TemporaryDirectory(prefix="lmteach-pg-", dir="/tmp") as folder:
        if user:
            os.chown(folder, user["user"], user["group"])
        data = f"{folder}/data"
        made = subprocess.run(
            [initdb, "-D", data, "-U", "lmteach", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
            capture_output=True,
            text=True,
            cwd=folder,
            **user,
        )
        if made.returncode:
            pytest.skip(f"initdb fails here: {made.stderr.strip()[-300:]}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [server, "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-F"],
            stdout=subprocess.DEVNULL,
            stderr=open(f"{folder}/log", "wb"),  # noqa: SIM115
            cwd=folder,
            **user,
        )
        try:
            _wait_for(port, process, Path(folder, "log"))
            yield f"postgresql://lmteach@127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import time

    import psycopg

    for _ in range(200):
        assert process.poll() is None, log.read_text()[-1000:]
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=lmteach dbname=postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text()[-1000:])


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A new, empty database of its own."""
    import secrets

    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    return f"{postgres_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a new store, once of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    url: str = request.getfixturevalue("postgres_url")
    return url
