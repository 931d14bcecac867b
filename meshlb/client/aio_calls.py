"""What the caller of an asyncio call holds: one class an arity, each a drop-in for grpc.aio's.

Dropping one whose call still runs cancels the call. Long because the four share nearly all of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from typing import Any, Self

import grpc
import grpc.aio

from meshlb.client.aio_course import CANCELLED_HERE, AioCourse, _now
from meshlb.client.aio_replay import AioReplay
from meshlb.client.aio_waiting import metadata, raised, task_is_cancelled

EOF = grpc.aio.EOF
FINISHED = "RPC already finished."
HALF_CLOSED = 'RPC is half closed after calling "done_writing".'
NOT_WRITTEN = "The requests come from an iterator: do not write them too."


class _Held:
    """All that the four have in common."""

    __slots__ = ("__weakref__", "_course")
    _channel = None
    """Of no channel of gRPC's: before 1.80 those look for calls of their own in every task."""

    def __init__(self, course: AioCourse) -> None:
        self._course = course

    def __del__(self) -> None:
        course = self._course
        if not course.ended and not sys.is_finalizing():
            try:
                course.method.loop.call_soon_threadsafe(course.cancel)
            except RuntimeError:  # the loop has ended
                course.abandon()

    def cancelled(self) -> bool:
        """Return whether it ended as cancelled, by the caller or by the node's status."""
        course = self._course
        course.catch_up()
        inner = course.inner
        return course.cancelled or (
            course.ended and course.failure is None and inner is not None and inner.cancelled()
        )

    def done(self) -> bool:
        """Return whether it has ended."""
        self._course.catch_up()
        return self._course.ended

    def cancel(self) -> bool:
        """End it; False if it had ended."""
        return self._course.cancel()

    def time_remaining(self) -> float | None:
        """Return seconds to its deadline; None: it has none."""
        deadline = self._course.deadline
        return None if deadline is None else max(0.0, deadline - _now())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(self)`` at the end, or now; keeps the call alive, as grpc.aio does."""
        self._course.when_ended(lambda: callback(self))

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back at the end, or now; does not keep the call alive."""
        self._course.when_ended(callback)

    async def initial_metadata(self) -> Any:
        """Wait for the node's initial metadata."""
        course = self._course
        while True:
            try:
                inner = await course.current()
            except (grpc.aio.AioRpcError, asyncio.CancelledError):
                if not course.ended:
                    raise  # the one who asks was cancelled, not the call
                failure = course.failure
                return metadata(() if failure is None else failure.initial_metadata())
            found = await inner.initial_metadata()
            course.catch_up()
            if not found:
                await course.decided(inner, drained=False)
            if course.inner is inner or course.ended:
                return found

    async def trailing_metadata(self) -> Any:
        """Wait for the end; return its trailing metadata."""
        last, failure = await self._course.settled(), self._course.failure
        if last is not None:
            return await last.trailing_metadata()
        return metadata(() if failure is None else failure.trailing_metadata())

    async def code(self) -> Any:
        """Wait for the end; return its status."""
        last, course = await self._course.settled(), self._course
        if course.failure is not None:
            return course.failure.code()
        if course.complete:
            return grpc.StatusCode.OK
        if last is None or course.cancelled:
            return grpc.StatusCode.CANCELLED
        return await last.code()

    async def details(self) -> Any:
        """Wait for the end; return its text."""
        last, course = await self._course.settled(), self._course
        if course.failure is not None:
            return course.failure.details()
        if course.complete:
            return ""
        return CANCELLED_HERE if last is None or course.cancelled else await last.details()

    async def debug_error_string(self) -> Any:
        """Wait for the end; return gRPC's own words on it."""
        last, course = await self._course.settled(), self._course
        if course.failure is not None:
            return course.failure.debug_error_string()
        if last is None or course.complete:
            return await self.details()
        return await last.debug_error_string()

    async def wait_for_connection(self) -> None:
        """Wait until the call is on a connection; raise what it ended with if it ended before."""
        while True:
            inner = await self._attempt()
            try:
                await inner.wait_for_connection()
            except BaseException as error:
                if not self._goes_on(inner, error):
                    if self._course.complete:
                        return
                    raise
                await self._course.decided(inner)
            else:
                return

    async def _attempt(self) -> Any:
        """Wait until an attempt runs; who is cancelled here cancels the call, as in grpc.aio."""
        try:
            return await self._course.current()
        except asyncio.CancelledError:
            self._course.cancel()
            raise

    def _goes_on(self, inner: Any, error: BaseException) -> bool:
        """Return whether the call goes on after an attempt raised; False: ``error`` is its end.

        Raises what it ended with if that is something else.
        """
        course = self._course
        if isinstance(error, grpc.aio.AioRpcError):
            if course.attempt_done(inner):
                return True
            if course.failure is not None:
                raise raised(course.failure) from error
        elif isinstance(error, asyncio.CancelledError):
            if course.given_up is not inner or task_is_cancelled():
                course.cancel()
            elif course.attempt_done(inner):
                return True
            elif course.failure is not None:
                raise raised(course.failure) from error
        elif isinstance(error, Exception):
            course.broke(error)
        return False

    def __repr__(self) -> str:
        course = self._course
        state = "ended" if course.ended else "running"
        return f"<meshlb: {state} call of {course.method.name}, {course.failure or course.inner}>"


class _OneResponse(_Held):
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        course = self._course
        while True:
            inner = course.inner
            if inner is None or course.failure is not None:
                inner = yield from self._attempt().__await__()
            try:
                return (yield from inner.__await__())
            except BaseException as error:
                if not self._goes_on(inner, error):
                    raise
                yield from course.decided(inner).__await__()


class _ManyResponses(_Held):
    __slots__ = ()

    # An iterator of its own would hold this and be held by it, so that none is seen to be dropped.
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF after the last; raise what it ended with."""
        course = self._course
        while True:
            inner = course.inner
            if inner is None or course.failure is not None:
                inner = await self._attempt()
            if course.patience is not None:
                course.wait_patiently(course.patience)
            try:
                message = await course.next_of(inner)
            except BaseException as error:
                if self._goes_on(inner, error):
                    await course.decided(inner)
                    continue
                if course.complete:
                    return EOF
                raise
            if course.inner is not inner:
                continue  # it broke meanwhile: the next attempt says this again
            if message is not EOF:
                course.took(message)
            return message


class _ManyRequests(_Held):
    __slots__ = ()

    async def write(self, request: Any) -> None:
        """Send one request, and wait until gRPC has taken it; raise what the call ended with."""
        course, replay = self._course, written(self._course.replay)
        if course.ended:
            raise asyncio.InvalidStateError(FINISHED)
        if replay.done:
            raise asyncio.InvalidStateError(HALF_CLOSED)
        try:
            taken = await replay.write(request)
        except asyncio.CancelledError:
            course.cancel()
            raise
        if not taken:
            if course.cancelled:
                raise asyncio.CancelledError
            if course.failure is not None:
                raise raised(course.failure)
            raise asyncio.InvalidStateError(FINISHED)

    async def done_writing(self) -> None:
        """Say that there are no more requests; twice does no harm."""
        written(self._course.replay).done_writing()


def written(replay: AioReplay | None) -> AioReplay:
    """Return the requests of a call if its caller may write them; UsageError if not."""
    if replay is None or not replay.written_by_hand:
        raise grpc.aio.UsageError(NOT_WRITTEN)
    return replay


class UnaryUnaryCall(_OneResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]
    """One request, one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        course = self._course
        inner = course.inner
        if inner is not None and not course.ended:
            course.awaited = True
            try:
                response = yield from inner.__await__()
            except GeneratorExit:
                course.awaiter_dropped(inner)
                raise
            except BaseException as error:
                course.awaiter_left(inner)
                if not self._goes_on(inner, error):
                    raise
            else:
                course.answered()
                return response
        return (yield from super().__await__())


class UnaryStreamCall(_ManyResponses, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """One request, many responses: iterate, or read."""


class StreamUnaryCall(_ManyRequests, _OneResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; one response."""


class StreamStreamCall(_ManyRequests, _ManyResponses, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; many responses: iterate, or read."""
