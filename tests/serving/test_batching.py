"""Requests computed together: each gets its own answer, one bad text spoils only itself, nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from lmteach.serving.batching import Batcher, OverloadedError
from lmteach.students.tags import Tags


class Echo:
    """Says each text back; notes its batches; can be held, and fails on the text `bad`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        self.gate.wait(10)
        self.batches.append(list(texts))
        if "bad" in texts:
            raise ValueError("bad")
        return [Tags((text,) * top_k, (1.0,) * top_k) for text in texts]


def test_each_gets_its_own_answer_and_depth() -> None:
    async def go() -> Echo:
        echo = Echo()
        batcher = Batcher(echo, max_texts=8)
        batcher.start()
        echo.gate.clear()
        first = asyncio.create_task(batcher.submit(["first"], 1))
        await asyncio.sleep(0.05)
        asked = [
            asyncio.create_task(batcher.submit([f"{i}a", f"{i}b"][: 1 + i % 2], 1 + i % 3)) for i in range(20)
        ]
        await asyncio.sleep(0.05)
        echo.gate.set()
        assert (await first)[0].labels == ("first",)
        for i, found in enumerate(await asyncio.gather(*asked)):
            assert [tags.labels for tags in found] == [
                (name,) * (1 + i % 3) for name in [f"{i}a", f"{i}b"][: 1 + i % 2]
            ]
        await batcher.close()
        return echo

    echo = asyncio.run(go())
    assert [len(batch) for batch in echo.batches] == [1, 8, 8, 8, 6], "what waited was computed together"


def test_a_bad_text_spoils_only_its_own_request() -> None:
    async def go() -> None:
        echo = Echo()
        batcher = Batcher(echo)
        batcher.start()
        echo.gate.clear()
        asked = [asyncio.create_task(batcher.submit([text], 1)) for text in ("a", "bad", "b")]
        await asyncio.sleep(0.05)
        echo.gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[1], ValueError)
        assert [f[0].labels for f in (found[0], found[2])] == [("a",), ("b",)]
        assert (await batcher.submit(["still here"], 1))[0].labels == ("still here",)
        await batcher.close()

    asyncio.run(go())


def test_who_gave_up_is_not_computed() -> None:
    async def go() -> Echo:
        echo = Echo()
        batcher = Batcher(echo)
        batcher.start()
        echo.gate.clear()
        held = asyncio.create_task(batcher.submit(["held"], 1))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await batcher.submit(["gave up"], 1)
        echo.gate.set()
        await held
        await batcher.submit(["later"], 1)
        await batcher.close()
        return echo

    assert "gave up" not in [text for batch in asyncio.run(go()).batches for text in batch]


def test_too_many_waiting_are_refused_and_those_who_left_make_room() -> None:
    async def go() -> None:
        echo = Echo()
        batcher = Batcher(echo, max_texts=1, max_waiting=3)
        batcher.start()
        echo.gate.clear()
        held = asyncio.create_task(batcher.submit(["held"], 1))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(batcher.submit(["x"] * 3, 1))
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await batcher.submit(["y"], 1)
        waiting.cancel()
        await asyncio.sleep(0.01)
        asked = asyncio.create_task(batcher.submit(["y"], 1))
        await asyncio.sleep(0.01)
        echo.gate.set()
        assert (await asked)[0].labels == ("y",)
        await held
        await batcher.close()

    asyncio.run(go())


def test_closing_tells_those_who_wait() -> None:
    async def go() -> None:
        echo = Echo()
        batcher = Batcher(echo, max_texts=1)
        batcher.start()
        echo.gate.clear()
        asked = [asyncio.create_task(batcher.submit([str(i)], 1)) for i in range(3)]
        await asyncio.sleep(0.05)
        echo.gate.set()
        await batcher.close()
        start = time.monotonic()
        await asyncio.wait(asked, timeout=5)
        assert time.monotonic() - start < 4
        assert all(task.done() for task in asked)

    asyncio.run(go())
