"""What the caller holds of an asyncio call that goes through interceptors: one class an arity.

The chain runs in a task, which must not hold this, so that a dropped call is seen to be dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Self

import grpc
import grpc.aio

from meshlb.client.aio_calls import EOF, FINISHED, HALF_CLOSED, written
from meshlb.client.aio_course import CANCELLED_HERE
from meshlb.client.aio_replay import AioReplay


class Intercepted:
    """All that the four have in common. Dropping one whose call runs cancels it."""

    _channel = None
    """As in ``aio_calls``."""

    def __init__(
        self, chain: Coroutine[Any, Any, Any], timeout: float | None, replay: AioReplay | None
    ) -> None:
        """Run the chain, which returns a call; ``replay`` has the requests of a stream."""
        self._replay = replay
        self._deadline = None if timeout is None else time.perf_counter() + timeout
        self._iterator: AsyncIterator[Any] | None = None
        self._task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(chain)
        _when_ended(self._task, lambda: None if replay is None else replay.stop())

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _call(self) -> Any:
        """Return the call below, once the chain has returned it; None before, or if it failed."""
        return _result(self._task) if self._task.done() else None

    def cancel(self) -> bool:
        """End it; False if it had ended."""
        if self.done():
            return False
        call = self._call()
        return self._task.cancel() if call is None else bool(call.cancel())

    def cancelled(self) -> bool:
        """Return whether it ended as cancelled."""
        task, call = self._task, self._call()
        if call is not None:
            return bool(call.cancelled())
        if not task.done() or task.cancelled():
            return task.cancelled()
        error = task.exception()
        return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Return whether it has ended."""
        call = self._call()
        return self._task.done() if call is None else bool(call.done())

    def time_remaining(self) -> float | None:
        """Return seconds to the deadline that the caller gave; None: none."""
        deadline = self._deadline
        return None if deadline is None else max(0.0, deadline - time.perf_counter())

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back at the end, or soon; does not keep the call alive."""
        _when_ended(self._task, callback)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(self)`` at the end, or soon; keeps the call alive."""
        _when_ended(self._task, lambda: callback(self))

    async def _ask(self, what: str, when_cancelled: Any) -> Any:
        try:
            call = await self._task
        except grpc.aio.AioRpcError as error:
            return getattr(error, what)()
        except asyncio.CancelledError:
            if not self._task.cancelled():
                raise  # the one who asks was cancelled, not the call
            return when_cancelled
        return await getattr(call, what)()

    async def initial_metadata(self) -> Any:
        """Wait for the initial metadata."""
        return await self._ask("initial_metadata", None)

    async def trailing_metadata(self) -> Any:
        """Wait for the end; return its trailing metadata."""
        return await self._ask("trailing_metadata", None)

    async def code(self) -> Any:
        """Wait for the end; return its status."""
        return await self._ask("code", grpc.StatusCode.CANCELLED)

    async def details(self) -> Any:
        """Wait for the end; return its text."""
        return await self._ask("details", CANCELLED_HERE)

    async def debug_error_string(self) -> Any:
        """Wait for the end; return gRPC's own words on it."""
        return await self._ask("debug_error_string", "")

    async def wait_for_connection(self) -> None:
        """Wait until the call below is on a connection."""
        await (await self._task).wait_for_connection()


class _OneResponse(Intercepted):
    def __await__(self) -> Generator[Any, None, Any]:
        call = yield from self._task.__await__()
        return (yield from call.__await__())


class _ManyResponses(Intercepted):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = aiter(await self._task)
        return await anext(self._iterator)

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF after the last."""
        return await anext(self, EOF)


class _ManyRequests(Intercepted):
    async def write(self, request: Any) -> None:
        """Send one request, and wait until it has been taken."""
        replay = written(self._replay)
        if self.done():
            raise asyncio.InvalidStateError(FINISHED)
        if replay.done:
            raise asyncio.InvalidStateError(HALF_CLOSED)
        if not await replay.write(request):
            raise asyncio.InvalidStateError(FINISHED)

    async def done_writing(self) -> None:
        """Say that there are no more requests; twice does no harm."""
        written(self._replay).done_writing()


class UnaryUnary(_OneResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]
    """One request, one response."""


class UnaryStream(_ManyResponses, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """One request, many responses: iterate, or read."""


class StreamUnary(_ManyRequests, _OneResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; one response."""


class StreamStream(_ManyRequests, _ManyResponses, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """Many requests, by iterator or written; many responses: iterate, or read."""


CALLS: dict[str, type[Intercepted]] = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}


def _result(task: asyncio.Task[Any]) -> Any:
    """Return what an ended task returned; None if it failed. Its error is then known to be seen."""
    return None if task.cancelled() or task.exception() is not None else task.result()


def _when_ended(task: asyncio.Task[Any], callback: Callable[[], None]) -> None:
    def returned(task: asyncio.Task[Any]) -> None:
        call = _result(task)
        if call is None:
            callback()
        elif hasattr(call, "when_ended"):
            call.when_ended(callback)
        else:
            call.add_done_callback(lambda _: callback())

    task.add_done_callback(returned)
