"""Dynamic batching: texts of many requests go to the student together; while it computes, the next batch gathers.

Nobody waits for company: an idle student takes what is there at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lmteach.students.tags import Tags

Predict = Callable[[Sequence[str], int], list[Tags]]


class OverloadedError(Exception):
    """More texts are waiting than the student may ever get to in time."""


@dataclass
class _Waiting:
    text: str
    top_k: int
    answer: asyncio.Future[Tags]


class Batcher:
    """Feeds one student from many requests.

    Args:
        predict: called in a thread of its own, one call at a time.
        max_texts: texts a batch at most.
        max_waiting: texts that may wait at most; more are refused.
        observe: told the number of texts of each batch.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        max_texts: int = 64,
        max_waiting: int = 4096,
        observe: Callable[[int], None] = lambda n: None,
    ) -> None:
        self.predict = predict
        self.max_texts, self.max_waiting, self.observe = max_texts, max_waiting, observe
        self._waiting: deque[_Waiting] = deque()
        self._computed: list[_Waiting] = []  # the batch that the student has now
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student")
        self._worker: asyncio.Task[None] | None = None

    @property
    def n_waiting(self) -> int:
        """Texts that wait for their batch."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to serve, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop; whoever still waits is told so."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for waiting in (*self._computed, *self._waiting):
            waiting.answer.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def submit(self, texts: Sequence[str], top_k: int) -> list[Tags]:
        """Return the tags of some texts.

        Cancelling it (a client that went away, a time limit) takes its texts out of the queue.

        Raises:
            OverloadedError: too many texts are waiting.
        """
        if len(self._waiting) + len(texts) > self.max_waiting:
            self._forget_cancelled()
            if len(self._waiting) + len(texts) > self.max_waiting:
                raise OverloadedError
        loop = asyncio.get_running_loop()
        mine = [_Waiting(text, top_k, loop.create_future()) for text in texts]
        self._waiting.extend(mine)
        self._arrived.set()
        return list(await asyncio.gather(*(waiting.answer for waiting in mine)))

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._computed = batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self.observe(len(batch))
            if not await self._answer(batch):
                for waiting in batch:  # one bad text must not spoil its neighbours' answers
                    await self._answer([waiting], alone=True)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self.max_texts:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _forget_cancelled(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.answer.done())

    async def _answer(self, batch: Sequence[_Waiting], *, alone: bool = False) -> bool:
        """Compute a batch and hand out its answers; return whether it worked."""
        top_k = max(waiting.top_k for waiting in batch)
        loop = asyncio.get_running_loop()
        try:
            texts = [waiting.text for waiting in batch]
            found = await loop.run_in_executor(self._thread, self.predict, texts, top_k)
        except Exception as error:
            if not alone and len(batch) > 1:
                return False
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return True
        for waiting, tags in zip(batch, found, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(tags.cut(waiting.top_k))
        return True
