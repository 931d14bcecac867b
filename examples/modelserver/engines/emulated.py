"""EMULATED: no model, only its timing. Answers are filler words that come when a model's would.

One iteration takes 6 ms + 0.35 ms a running request, prompts go in at 8,000 tokens a second, all
divided by ``speed``. It sleeps and does not compute, so that many fit on a small machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from examples.modelserver.batch import Batch, Job
from examples.modelserver.engines import Generation, Load, Piece, Settings

WORDS = (
    "the",
    "calls",
    "go",
    "where",
    "they",
    "are",
    "served",
    "soonest",
    "and",
    "none",
    "is",
    "lost",
)
DIMENSIONS = 8
LEAST_SLEEP_S = 0.002


def build(settings: Settings) -> EmulatedEngine:
    """Return an engine; to be called in the loop that it is to live in."""
    return EmulatedEngine(settings)


class EmulatedEngine:
    """Runs a ``Batch`` by the real clock."""

    def __init__(self, settings: Settings) -> None:
        self._batch = Batch(settings.speed, settings.slots)
        self._piece_tokens = settings.piece_tokens
        self._wake: dict[Job, asyncio.Event] = {}
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def generate(self, wanted: Generation) -> AsyncIterator[Piece]:
        """Yield filler words: the first alone, then ``piece_tokens`` at a time."""
        left = wanted.max_tokens - wanted.received
        job = Job(wanted.prompt_tokens + wanted.received, left, time.perf_counter())
        async with self._admitted(job) as wake:
            sent = 0
            while sent < left:
                await wake.wait()
                wake.clear()
                ready = job.made - sent
                at = wanted.received + sent
                words = (WORDS[i % len(WORDS)] + " " for i in range(at, at + ready))
                sent += ready
                yield Piece("".join(words), ready, sent == left)

    async def embed(self, text: str, tokens: int) -> Sequence[float]:
        """Return a vector that depends on the length alone."""
        del text
        job = Job(tokens, 0, time.perf_counter())
        async with self._admitted(job) as wake:
            await wake.wait()
        values = [0.0] * DIMENSIONS
        values[tokens % DIMENSIONS] = 1.0
        return values

    def load(self) -> Load:
        """Return what runs and waits now."""
        return Load(len(self._batch.running), len(self._batch.waiting))

    async def close(self) -> None:
        """Stop the clock."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @contextlib.asynccontextmanager
    async def _admitted(self, job: Job) -> AsyncIterator[asyncio.Event]:
        wake = self._wake[job] = asyncio.Event()
        self._batch.add(job)
        self._arrived.set()
        try:
            yield wake
        finally:
            del self._wake[job]
            self._batch.remove(job)

    async def _run(self) -> None:
        batch = self._batch
        while True:
            if batch.ends is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await asyncio.sleep(max(LEAST_SLEEP_S, batch.ends - time.perf_counter()))
            for job in batch.advance(time.perf_counter()):
                whole = job.made % self._piece_tokens == 0
                if (job.made <= 1 or whole or job.done) and job in self._wake:
                    self._wake[job].set()
