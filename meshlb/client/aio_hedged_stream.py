"""A hedged asyncio response stream: two attempts until one has a message.

The time to wait counts from when the caller begins to read. After a message has come nothing is
hedged.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from meshlb.client.aio_course import _now
from meshlb.client.aio_hedged import AioHedgedCourse
from meshlb.client.node import Node


class AioHedgedStreamCourse(AioHedgedCourse):
    """State of one call of one request and many responses; for one event loop."""

    __slots__ = ("_reading", "_wanted")
    _from_begin = False

    def __init__(self, *given: Any) -> None:
        self._reading: tuple[Any, asyncio.Task[Any]] | None = None
        """gRPC's call of the second attempt, and its first message."""
        self._wanted = False
        """Somebody reads."""
        super().__init__(*given)

    def _begin(self, node: Node, now: float) -> Any:
        inner = super()._begin(node, now)
        if self._wanted and not self._delivered:
            self._hedge_later(inner)
        return inner

    async def next_of(self, inner: Any) -> Any:
        """Return the next response of an attempt, or grpc.aio.EOF."""
        if self._reading is not None and self._reading[0] is inner:
            (_, reading), self._reading = self._reading, None
            return await reading
        if not self._wanted:
            self._wanted = True
            self._hedge_later(inner)
        return await inner.read()

    def _asked(self, other: Any) -> None:
        reading = self.method.loop.create_task(self._read(other))
        self._reading = other, reading
        reading.add_done_callback(_seen)

    async def _read(self, other: Any) -> Any:
        message = await other.read()
        beside, first = self._other, self._attempt
        if (
            message is not grpc.aio.EOF
            and beside is not None
            and beside[2] is other
            and first is not None
        ):
            self._other = None
            slow, self.inner, self._attempt = self.inner, other, beside[:2]
            self._give_up(slow, first, _now())
        return message

    def took(self, message: Any) -> None:
        """Note that a message has reached the caller."""
        attempt, hedge, first = self._attempt, self.method.hedge, not self._delivered
        super().took(message)
        if first:
            if attempt is not None and hedge is not None:
                hedge.observe(_now() - attempt[1])
            self._call_other_off()

    def _observe(self, latency_s: float) -> None:
        """Take no note of it: what counts is the first message."""


def _seen(reading: asyncio.Task[Any]) -> None:
    """Take note of how an attempt ended that nobody else may ask."""
    if not reading.cancelled():
        reading.exception()
