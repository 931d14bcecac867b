"""What the caller of an asyncio call holds: one class an arity, each a drop-in for grpc.aio's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_course import AioCourse, _now

EOF = grpc.aio.EOF
_CANCELLED_TEXT = "Locally cancelled by application!"


class _Held:
    """All that the four have in common. Dropping one that runs cancels its call."""

    __slots__ = ("__weakref__", "_course")

    def __init__(self, course: AioCourse) -> None:
        self._course = course

    def __del__(self) -> None:
        course = getattr(self, "_course", None)
        if course is not None and not course.ended and not course.loop.is_closed():
            course.loop.call_soon_threadsafe(course.cancel)

    def cancelled(self) -> bool:
        """Return whether the caller cancelled it before it ended."""
        return self._course.cancelled

    def done(self) -> bool:
        """Return whether it has ended."""
        return self._course.ended

    def cancel(self) -> bool:
        """End it; False if it had ended."""
        return self._course.cancel()

    def time_remaining(self) -> float | None:
        """Return seconds to its deadline; None: it has none."""
        deadline = self._course.deadline
        return None if deadline is None else max(0.0, deadline - _now())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(self)`` at the end, or now."""
        if self._course.ended:
            callback(self)
        else:
            self._course.callbacks.append(lambda: callback(self))

    async def initial_metadata(self) -> Any:
        """Wait for the node's initial metadata."""
        while True:
            inner = await self._course.current()
            found = await inner.initial_metadata()
            if self._course.inner is inner or self._course.ended:
                return found

    async def trailing_metadata(self) -> Any:
        """Wait for the end; return its trailing metadata."""
        last = await self._course.settled()
        return grpc.aio.Metadata() if last is None else await last.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """Wait for the end; return its status."""
        last = await self._course.settled()
        if last is not None:
            code: grpc.StatusCode = await last.code()
            return code
        error = self._course.error
        return grpc.StatusCode.CANCELLED if error is None else error.code()

    async def details(self) -> Any:
        """Wait for the end; return its text."""
        last = await self._course.settled()
        if last is not None:
            return await last.details()
        error = self._course.error
        return _CANCELLED_TEXT if error is None else error.details()

    async def debug_error_string(self) -> str | None:
        """Wait for the end; return gRPC's own words on it."""
        last = await self._course.settled()
        if last is None:
            told: str | None = await self.details()
            return told
        text: str | None = await last.debug_error_string()
        return text

    async def wait_for_connection(self) -> None:
        """Wait until the call is on a connection; raise what it ended with if it ended before."""
        while True:
            inner = await self._course.current()
            try:
                await inner.wait_for_connection()
            except grpc.aio.AioRpcError:
                if self._course.attempt_done(inner):
                    continue
                raise
            return

    def __repr__(self) -> str:
        course = self._course
        state = "ended" if course.ended else "running"
        return f"<meshlb: {state} call of {course.method.name}, {course.inner or course.error}>"


class _OneResponse(_Held):
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        course = self._course
        while True:
            inner = course.inner
            if inner is None or course.error is not None:
                inner = await course.current()
            try:
                return await inner
            except asyncio.CancelledError:
                # Whoever awaits us was cancelled, and the call with it, as grpc.aio does.
                if not course.cancelled:
                    course.cancel()
                raise
            except grpc.aio.AioRpcError:
                if course.attempt_done(inner):
                    continue
                raise


class _ManyResponses(_Held):
    __slots__ = ("_iterator",)

    def __init__(self, course: AioCourse) -> None:
        super().__init__(course)
        self._iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._messages()
        return self._iterator

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not EOF:
            yield message

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF after the last; raise what it ended with."""
        course = self._course
        while True:
            inner = course.inner
            if inner is None or course.error is not None:
                inner = await course.current()
            try:
                message = await inner.read()
            except asyncio.CancelledError:
                if not course.cancelled:
                    course.cancel()
                raise
            except grpc.aio.AioRpcError:
                if course.attempt_done(inner):
                    continue
                raise
            if message is not EOF:
                course.took(message)
            return message


class _ManyRequests(_Held):
    __slots__ = ()

    async def write(self, request: Any) -> None:
        """Send one request, and wait until gRPC has taken it."""
        replay = self._course.replay
        if replay is None or not replay.written_by_hand:
            raise grpc.aio.UsageError("The request stream is given by an iterator: do not write.")
        if self._course.ended:
            raise asyncio.InvalidStateError("RPC already finished.")
        if replay.done:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        await replay.write(request)

    async def done_writing(self) -> None:
        """Say that there are no more requests; twice does no harm."""
        replay = self._course.replay
        if replay is None or not replay.written_by_hand:
            raise grpc.aio.UsageError("The request stream is given by an iterator: do not write.")
        replay.done_writing()


class UnaryUnaryCall(_OneResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]
    """One request, one response."""


class UnaryStreamCall(_ManyResponses, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """One request, many responses: iterate, or read."""


class StreamUnaryCall(_ManyRequests, _OneResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; one response."""


class StreamStreamCall(_ManyRequests, _ManyResponses, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; many responses: iterate, or read."""
