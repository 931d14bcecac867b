"""The course of a hedged call, for threads: a second attempt beside a first that takes long.

The first answer counts, and the other attempt is cancelled. One that fails leaves the call to the
other. Hedges come out of the retry budget.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import grpc

from meshlb.client.course import Course
from meshlb.client.later import Due
from meshlb.client.node import Node, Outcome
from meshlb.client.unary_call import UnaryUnary

_now = time.perf_counter


class HedgedCourse(Course):
    """One call of one request and one response."""

    _from_begin = True
    """Whether the time to wait counts from the begin of the first attempt."""

    _other: tuple[Node, float, Any] | None = None
    """Node, time of begin and gRPC's call of the attempt beside ``inner``."""
    _hedged = False
    _due: Due | None = None
    """The look at whether it takes long."""

    def _begin(self, node: Node) -> None:
        super()._begin(node)
        if self._from_begin:
            self._hedge_later()

    def _hedge_later(self) -> None:
        hedge, inner = self.method.hedge, self.inner
        delay_s = None if hedge is None else hedge.seconds()
        if delay_s is not None and inner is not None and not self._hedged:
            if self._due is not None:  # of an attempt that failed
                self._due.call_off()
            self._due = self.method.later.do(delay_s, functools.partial(self._hedge, inner))
            if self.ended:
                self._due.call_off()

    def _hedge(self, inner: Any) -> None:
        """Ask another node too, if the first attempt still runs."""
        method, routes = self.method, self.method.routes
        now = _now()
        left_s = None if self.deadline is None else self.deadline - now
        with self.changed:
            attempt = self._attempt
            if self._hedged or self.inner is not inner or attempt is None:
                return
            self._hedged = True
        if (left_s is not None and left_s <= 0) or not routes.may_add(now):
            return
        try:
            node = method.view.begin(now, (attempt[0],))
        except ValueError:  # the channel is being closed
            return
        if node is None:
            return
        if node is attempt[0]:  # there is no other
            routes.end(node, 0.0, Outcome.CANCELLED, now)
            return
        try:
            other = self._ask(node, left_s)
        except BaseException:
            routes.end(node, 0.0, Outcome.CANCELLED, now)
            raise
        with self.changed:
            beside = self._attempt is attempt and not self._delivered
            if beside:
                self._other = (node, now, other)
        if beside:
            other.add_done_callback(self._other_done)
            self._asked(other)
        else:  # it ended meanwhile, or has its first message
            routes.end(node, 0.0, Outcome.CANCELLED, now)
            other.cancel()

    def _ask(self, node: Node, left_s: float | None) -> Any:
        """Begin gRPC's call of the second attempt."""
        metadata, credentials, _, compression = self._args
        ask = self.method.on(node).future
        return ask(self._request, left_s, metadata, credentials, False, compression)

    def _asked(self, other: Any) -> None:
        """Take note that the second attempt runs."""

    def _other_done(self, other: Any) -> None:
        """Take note that the second attempt ended."""
        now = _now()
        first: tuple[Node, float] | None = None
        slow: Any = None
        with self.changed:
            beside = self._other
            if beside is not None and beside[2] is other and self._attempt is not None:
                self._other = None
                counts = other.code() is grpc.StatusCode.OK
                if counts or not self._goes_on_without(beside, now):
                    first, self._attempt = self._attempt, beside[:2] if counts else None
                    slow, self.inner = self.inner, other
        if first is not None:
            node, began_at = first
            self.method.routes.end(node, now - began_at, Outcome.CANCELLED, now)
            self.method.routes.outrun(node, now)
            slow.cancel()
            if not counts:
                self._end(self._final(other, None))
        self.attempt_done(other)  # if it is the attempt that counts by now

    def _goes_on_without(self, beside: tuple[Node, float, Any], now: float) -> bool:
        """Count a second attempt out that failed; False: with a status that ends the call."""
        node, began_at, other = beside
        self._tries = self._tries or self.method.tries(self._args[2])
        status = (other.code(), other.details(), other.trailing_metadata())
        again = self._tries.failed(node, began_at, now, status)
        return again is not None or not self._tries.final or self._cancelled

    def _go_on_beside(self) -> bool:
        other, self._other = self._other, None
        if other is None:
            return False
        node, began_at, self.inner = other
        self._attempt = (node, began_at)
        return True

    def _answered(self, latency_s: float) -> None:
        if self.method.hedge is not None:
            self.method.hedge.observe(latency_s)

    def _end(self, error: Any) -> None:
        super()._end(error)
        self._call_other_off()

    def _call_other_off(self) -> None:
        """Ask for no second attempt any more, and end one that runs beside."""
        if self._due is not None:
            self._due.call_off()
        with self.changed:
            other, self._other = self._other, None
        if other is not None:
            node, began_at, inner = other
            now = _now()
            self.method.routes.end(node, now - began_at, Outcome.CANCELLED, now)
            inner.cancel()


class HedgedUnaryUnary(UnaryUnary):
    """The multi-callable of a method with a ``hedgingPolicy``: all its calls are futures."""

    __slots__ = ()
    _course = HedgedCourse

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Call, and return the response; raises grpc.RpcError as gRPC does."""
        return self.with_call(*given, **more)[0]

    def with_call(self, *given: Any, **more: Any) -> tuple[Any, grpc.Call]:
        """Call, and return (response, call)."""
        call = self.future(*given, **more)
        try:
            return call.result(), call
        except grpc.FutureCancelledError:  # the channel was closed
            raise call._course.settled() from None
