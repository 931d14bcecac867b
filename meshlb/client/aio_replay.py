"""Requests of a streaming call that can be read again from the start, for asyncio.

The same as ``replay``. The caller may also write them one by one: they pass through here too, so
that one mechanism serves both styles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any

from meshlb.client.replay import MOST_KEPT


class AioReplay:
    """The caller's requests; each attempt reads them through its own ``reader``."""

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any] | None) -> None:
        """Take the caller's iterator; None: the caller will ``write``."""
        self.stopped = False
        """The call ended: nobody reads any more."""
        self.done = False
        """There are no more requests to come."""
        self.written_by_hand = requests is None
        """The caller writes."""
        self._source = requests
        """None once it is being read, so that it ends with whoever reads it."""
        self._kept: list[Any] = []
        self._dropped = 0
        """Items at the front that are no longer kept."""
        self._taken_to = 0
        self._committed = False
        self._current = 0
        self._failure: BaseException | None = None
        self._pump: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        """Set when a waiting reader should look again."""
        self._taken = asyncio.Event()
        """Set when gRPC has taken all there is, and when nobody will."""

    @property
    def replayable(self) -> bool:
        """Whether another attempt could still read all from the start."""
        return self._dropped == 0 and not self.stopped

    def commit(self) -> None:
        """Keep nothing from now on: there will be no other attempt."""
        self._committed = True

    def stop(self) -> None:
        """End readers, writers and the reading of the source: the call ended."""
        self.stopped = True
        self._current += 1
        if self._pump is not None:
            self._pump.cancel()
        self._came.set()
        self._taken.set()

    async def write(self, request: Any) -> bool:
        """Add a request, and wait until gRPC has taken it; False: the call ended before."""
        if self.stopped:
            return False
        self._kept.append(request)
        place = self._dropped + len(self._kept)
        self._taken.clear()
        self._came.set()
        await self._taken.wait()
        return self._taken_to >= place

    def done_writing(self) -> None:
        """Say that there are no more requests."""
        self.done = True
        self._came.set()

    def reader(self) -> AsyncGenerator[Any]:
        """Return an iterator from the start for a new attempt; older readers end."""
        self._current += 1
        self._came.set()
        return self._read(self._current)

    async def _read(self, number: int) -> AsyncGenerator[Any]:
        at = 0
        while number == self._current:
            if at < self._dropped + len(self._kept):
                request = self._kept[at - self._dropped]
                at += 1
                self._trim(at)
                yield request
                continue
            # gRPC asks for the next one only once it has taken the one before.
            self._taken_to = max(self._taken_to, at)
            self._taken.set()
            if self._failure is not None:
                raise self._failure
            if self.done:
                return
            if self._source is not None:
                source, self._source = self._source, None
                self._pump = asyncio.create_task(self._pump_from(source))
            self._came.clear()
            await self._came.wait()

    async def _pump_from(self, source: Iterable[Any] | AsyncIterable[Any]) -> None:
        # One task for all attempts: a source may hold what belongs to a task, such as a timeout.
        try:
            if isinstance(source, AsyncIterable):
                async for request in source:
                    if not await self.write(request):
                        return
            else:
                for request in source:
                    if not await self.write(request):
                        return
        except asyncio.CancelledError:
            if self.stopped:
                return  # raised on, it would hold the source
            self._failure = RuntimeError("the iterator of requests was cancelled")
        except BaseException as error:  # handed on to whoever reads
            self._failure = error
        self.done_writing()

    def _trim(self, read_to: int) -> None:
        if self._committed or len(self._kept) > MOST_KEPT:
            drop = read_to - self._dropped
            if drop > 0:  # another attempt's reader may be ahead
                del self._kept[:drop]
                self._dropped += drop
