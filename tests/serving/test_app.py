"""The app with a student that is slow, overrun or broken: each is a clear answer, and the next request is served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmteach import Student, Tags, load_student

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")


class Held:
    """A tagger that waits for its gate, and fails on the text `bad`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.gate = threading.Event()

    def predict(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        self.gate.wait(20)
        if "bad" in texts:
            raise RuntimeError("out of memory")
        return [Tags(tuple(self.names[:top_k]), tuple(0.5 for _ in self.names[:top_k])) for _ in texts]


Session = Callable[[Any, Held], Coroutine[Any, Any, None]]


def _serve(exported: Path, session: Session, **options: Any) -> None:
    from lmteach.serving.app import ServeOptions, create_app

    real = load_student(exported)
    held = Held(real.labels)
    app = create_app(Student(held, real.about, exported, "onnx"), ServeOptions(**options))

    async def go() -> None:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://student") as client:
                try:
                    await session(client, held)
                finally:
                    held.gate.set()

    asyncio.run(go())


def test_a_student_that_takes_too_long_is_given_up(exported: Path) -> None:
    async def session(client: Any, held: Held) -> None:
        answer = await client.post("/predict", json={"texts": ["x"]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "too long" in answer.json()["detail"]
        assert (await client.get("/health")).status_code == 200, "the server itself still answers"
        held.gate.set()
        assert (await client.post("/predict", json={"texts": ["x"]})).status_code == 200

    _serve(exported, session, seconds=0.2)


def test_too_many_waiting_texts_are_refused_at_once(exported: Path) -> None:
    async def session(client: Any, held: Held) -> None:
        first = asyncio.create_task(client.post("/predict", json={"texts": ["a"]}))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(client.post("/predict", json={"texts": ["b"] * 3}))
        await asyncio.sleep(0.1)
        assert "lmteach_waiting_texts 3.0" in (await client.get("/metrics")).text
        refused = await client.post("/predict", json={"texts": ["c"]})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        held.gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]

    _serve(exported, session, max_waiting=3, batch_texts=1)


def test_a_broken_text_fails_alone(exported: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def session(client: Any, held: Held) -> None:
        asked = [asyncio.create_task(client.post("/predict", json={"texts": [t]})) for t in ("a", "bad", "b")]
        await asyncio.sleep(0.1)
        held.gate.set()
        assert [(await task).status_code for task in asked] == [200, 500, 200]
        assert "student failed" in (await asked[1]).json()["detail"]
        assert (
            'lmteach_requests_total{path="/predict",status="500"} 1.0' in (await client.get("/metrics")).text
        )

    _serve(exported, session)
    assert "out of memory" in caplog.text


def test_answers_carry_headers_for_browsers(exported: Path) -> None:
    async def session(client: Any, held: Held) -> None:
        for path in ("/", "/docs", "/static/page.js", "/health", "/nothing"):
            headers = (await client.get(path)).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers

    _serve(exported, session)
