"""A hedged asyncio call: a second attempt beside a first that takes long.

The first answer counts, and the other attempt is cancelled. One that fails leaves the call to the
other. Hedges come out of the retry budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import grpc
import grpc.aio

from meshlb.client import aio_calls
from meshlb.client.aio_course import AioCourse, _now, now_of
from meshlb.client.aio_waiting import raised
from meshlb.client.node import Node, Outcome
from meshlb.client.waiting import NoNodeError


class AioHedgedCourse(AioCourse):
    """State of one call of one request and one response; for one event loop."""

    __slots__ = ("_hedged", "_other", "_timer")
    _from_begin = True
    """Whether the time to wait counts from the begin of the first attempt."""

    def __init__(self, *given: Any) -> None:
        self._other: tuple[Node, float, Any] | None = None
        """Node, time of begin and gRPC's call of the attempt beside ``inner``."""
        self._hedged = False
        self._timer: asyncio.TimerHandle | None = None
        super().__init__(*given)

    def _begin(self, node: Node, now: float) -> Any:
        inner = super()._begin(node, now)
        if self._from_begin:
            self._hedge_later(inner)
        return inner

    def _hedge_later(self, inner: Any) -> None:
        hedge = self.method.hedge
        delay_s = None if hedge is None else hedge.seconds()
        if delay_s is not None and not self._hedged:
            self._timer = self.method.loop.call_later(delay_s, self._hedge, inner)

    def _hedge(self, inner: Any) -> None:
        """Ask another node too, if the first attempt still runs."""
        method, routes, attempt = self.method, self.method.routes, self._attempt
        now = _now()
        left_s = None if self.deadline is None else self.deadline - now
        if self._hedged or self.inner is not inner or attempt is None:
            return
        self._hedged = True
        if (left_s is not None and left_s <= 0) or not routes.may_add(now):
            return
        try:
            node = method.begin(now, (attempt[0],))
        except ValueError:  # the channel is being closed
            return
        if node is None:
            return
        if node is attempt[0]:  # there is no other
            method.end(node, 0.0, Outcome.CANCELLED, now)
            return
        metadata, credentials, _, compression = self._args
        try:
            other = method.on(node)(
                self._request,
                timeout=left_s,
                metadata=metadata,
                credentials=credentials,
                compression=compression,
            )
        except BaseException:
            method.end(node, 0.0, Outcome.CANCELLED, now)
            raise
        self._other = (node, now, other)
        other.add_done_callback(self._other_done)
        self._asked(other)

    def _asked(self, other: Any) -> None:
        """Take note that the second attempt runs."""

    def _other_done(self, other: Any) -> None:
        """Take note that the second attempt ended."""
        beside, first = self._other, self._attempt
        if beside is not None and beside[2] is other and first is not None:
            self._other = None
            inner, now = self.inner, _now()
            counts = now_of(other.code()) is grpc.StatusCode.OK
            if counts or not self._goes_on_without(beside, now):
                self.inner, self._attempt = other, beside[:2] if counts else None
                self._give_up(inner, first, now)
                if not counts and self._tries is not None:
                    self._end(self._final(self._tries, None, other))
        self.attempt_done(other)  # if it is the attempt that counts by now

    def _give_up(self, inner: Any, attempt: tuple[Node, float], now: float) -> None:
        """End the first attempt, which the second outran."""
        node, began_at = attempt
        self.given_up = inner
        self.method.end(node, now - began_at, Outcome.CANCELLED, now)
        self.method.routes.outrun(node, now)
        inner.cancel()

    def _goes_on_without(self, beside: tuple[Node, float, Any], now: float) -> bool:
        """Count a second attempt out that failed; False: with a status that ends the call."""
        node, began_at, other = beside
        tries = self._tries = self._tries or self.method.tries(self._args[2])
        trailing = tuple(now_of(other.trailing_metadata()) or ())
        status = (now_of(other.code()), now_of(other.details()), trailing)
        return tries.failed(node, began_at, now, status) is not None or not tries.final

    def _go_on_beside(self) -> bool:
        other, self._other = self._other, None
        if other is None:
            return False
        node, began_at, self.inner = other
        self._attempt = (node, began_at)
        return True

    def answered(self) -> None:
        """Take note that the attempt that runs, if any, ended well."""
        if self._attempt is not None:
            self._observe(_now() - self._attempt[1])
        super().answered()

    def _observe(self, latency_s: float) -> None:
        """Take note that an attempt ended well after so long."""
        if self.method.hedge is not None:
            self.method.hedge.observe(latency_s)

    def _end(self, failure: NoNodeError | None = None) -> None:
        super()._end(failure)
        self._call_other_off()

    def _call_other_off(self) -> None:
        """Ask for no second attempt any more, and end one that runs beside."""
        if self._timer is not None:
            self._timer.cancel()
        other, self._other = self._other, None
        if other is not None:
            node, began_at, inner = other
            now = _now()
            self.method.end(node, now - began_at, Outcome.CANCELLED, now)
            inner.cancel()


class HedgedUnaryUnaryCall(aio_calls.UnaryUnaryCall):
    """What the caller holds of it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        course = self._course
        try:
            last = yield from course.settled().__await__()
        except asyncio.CancelledError:
            course.cancel()
            raise
        if course.failure is not None:
            raise raised(course.failure)
        if last is None:
            raise asyncio.CancelledError
        return (yield from last.__await__())
