"""Requests of a streaming call that can be read again from the start, for asyncio.

The same as ``replay``. The caller may also write them one by one: then they pass through here too,
so that one mechanism serves both styles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from meshlb.client.replay import MOST_KEPT


class AioReplay:
    """The caller's requests; each attempt reads them through its own ``reader``."""

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any] | None) -> None:
        """Take the caller's iterator; None: the caller will ``write``."""
        self._kept: list[Any] = []
        self._dropped = 0
        self._committed = False
        self._current = 0
        self._ended: BaseException | None = None
        self._moved = asyncio.Event()
        self._pulling: asyncio.Task[None] | None = None
        self._asks = asyncio.Event()
        """Set when a reader has taken all there is: the next write may come."""
        self._source: Any = None
        if requests is not None:
            is_async = hasattr(requests, "__aiter__")
            self._source = aiter(requests) if is_async else _stepped(iter(requests))  # type: ignore[arg-type]

    @property
    def written_by_hand(self) -> bool:
        """Whether the caller writes."""
        return self._source is None

    @property
    def done(self) -> bool:
        """Whether there are no more requests to come."""
        return self._ended is not None

    @property
    def replayable(self) -> bool:
        """Whether another attempt could still read all from the start."""
        return self._dropped == 0

    def commit(self) -> None:
        """Keep nothing from now on: there will be no other attempt."""
        self._committed = True

    def stop(self) -> None:
        """End all readers and the reading of the source: the call ended."""
        self._current += 1
        if self._pulling is not None:
            self._pulling.cancel()
        self._wake()

    async def write(self, request: Any) -> None:
        """Add a request, and wait until gRPC has taken it."""
        self._kept.append(request)
        self._asks.clear()
        self._wake()
        await self._asks.wait()

    def done_writing(self) -> None:
        """Say that there are no more requests."""
        self._ended = self._ended or StopAsyncIteration()
        self._wake()

    async def reader(self) -> AsyncIterator[Any]:
        """Yield all requests from the start, for a new attempt; older readers end."""
        self._current += 1
        number = self._current
        self._wake()
        at = 0
        while number == self._current:
            if at < self._dropped + len(self._kept):
                item = self._kept[at - self._dropped]
                at += 1
                self._trim(at)
                yield item
                continue
            self._asks.set()
            if isinstance(self._ended, StopAsyncIteration):
                return
            if self._ended is not None:
                raise self._ended
            if self._source is not None and self._pulling is None:
                self._pulling = asyncio.create_task(self._pull())
            await self._moved.wait()

    def _wake(self) -> None:
        # Whoever waits sees this event set; later waits need a new one.
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        if self._ended is not None or self._current > 1:
            self._asks.set()

    async def _pull(self) -> None:
        try:
            self._kept.append(await anext(self._source))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # handed on to whoever reads
            self._ended = error
        self._pulling = None
        self._wake()

    def _trim(self, read_to: int) -> None:
        if self._committed or len(self._kept) > MOST_KEPT:
            drop = read_to - self._dropped
            del self._kept[:drop]
            self._dropped += drop


async def _stepped(requests: Iterable[Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield request
