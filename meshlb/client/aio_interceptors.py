"""grpc.aio's client interceptors above the pick: each runs once a call, however many attempts.

gRPC's own chain needs its own channels, so this is one of ours. An interceptor may change details
and request, await the call that ``continuation`` returns, or answer by itself: with a response, or
for streams with an iterator of them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_replay import AioReplay

EOF = grpc.aio.EOF
KINDS = {
    "unary_unary": grpc.aio.UnaryUnaryClientInterceptor,
    "unary_stream": grpc.aio.UnaryStreamClientInterceptor,
    "stream_unary": grpc.aio.StreamUnaryClientInterceptor,
    "stream_stream": grpc.aio.StreamStreamClientInterceptor,
}
Invoke = Callable[[grpc.aio.ClientCallDetails, Any], Any]


def by_arity(interceptors: Sequence[Any] | None) -> dict[str, list[Any]]:
    """Return the interceptors of each arity, in order; ValueError for one that is none."""
    sorted_: dict[str, list[Any]] = {arity: [] for arity in KINDS}
    for one in interceptors or ():
        fitting = [arity for arity, kind in KINDS.items() if isinstance(one, kind)]
        if not fitting:
            names = ", ".join(kind.__name__ for kind in KINDS.values())
            raise ValueError(f"Interceptor {one!r} must be one of {names}")
        for arity in fitting:
            sorted_[arity].append(one)
    return sorted_


def run_chain(
    arity: str,
    interceptors: Sequence[Any],
    invoke: Invoke,
    details: grpc.aio.ClientCallDetails,
    request: Any,
) -> Awaitable[Any]:
    """Return what the outermost interceptor returns; ``invoke`` is what stands below them all."""

    async def at(number: int, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        if number == len(interceptors):
            return invoke(details, request)
        run = getattr(interceptors[number], f"intercept_{arity}")

        async def continuation(details: grpc.aio.ClientCallDetails, request: Any) -> Any:
            return await at(number + 1, details, request)

        return await run(continuation, details, request)

    return at(0, details, request)


class InterceptedCall:
    """The call that the caller holds while and after the chain runs, whatever the arity."""

    def __init__(
        self,
        chain: Callable[[Any], Awaitable[Any]],
        request: Any,
        replay: AioReplay | None,
        one_response: bool,
    ) -> None:
        self._replay = replay
        self._one_response = one_response
        self._cancelled = False
        self._iterator: AsyncIterator[Any] | None = None
        first = request if replay is None else replay.reader()
        self._task: asyncio.Task[Any] = asyncio.ensure_future(self._run(chain(first)))

    async def _run(self, chain: Awaitable[Any]) -> Any:
        found = await chain
        if isinstance(found, grpc.aio.Call | InterceptedCall):
            return found
        return _Answer(found, self._one_response)

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    def __await__(self) -> Generator[Any, None, Any]:
        call = yield from self._task.__await__()
        return (yield from call.__await__())

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._messages()
        return self._iterator

    async def _messages(self) -> AsyncIterator[Any]:
        async for message in await self._task:
            yield message

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF after the last."""
        return await anext(self.__aiter__(), EOF)

    async def write(self, request: Any) -> None:
        """Send one request, and wait until it has been taken."""
        if self._replay is None or not self._replay.written_by_hand:
            raise grpc.aio.UsageError("The request stream is given by an iterator: do not write.")
        if self.done() or self._replay.done:
            raise asyncio.InvalidStateError("RPC already finished.")
        await self._replay.write(request)

    async def done_writing(self) -> None:
        """Say that there are no more requests."""
        if self._replay is not None:
            self._replay.done_writing()

    def _call(self) -> Any:
        """Return the call below, once the chain has returned it; None before, or if it failed."""
        if not self._task.done() or self._task.cancelled() or self._task.exception() is not None:
            return None
        return self._task.result()

    def cancel(self) -> bool:
        """End it; False if it had ended."""
        if self.done():
            return False
        self._cancelled = True
        if self._replay is not None:
            self._replay.stop()
        call = self._call()
        return self._task.cancel() if call is None else bool(call.cancel())

    def cancelled(self) -> bool:
        """Return whether the caller cancelled it before it ended."""
        call = self._call()
        return self._cancelled or self._task.cancelled() or (call is not None and call.cancelled())

    def done(self) -> bool:
        """Return whether it has ended."""
        call = self._call()
        return self._task.done() if call is None else bool(call.done())

    def time_remaining(self) -> float | None:
        """Return seconds to the deadline of the call below; None: none, or not there yet."""
        call = self._call()
        return None if call is None else call.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(self)`` at the end."""

        def returned(_: asyncio.Task[Any]) -> None:
            call = self._call()
            if call is None:
                callback(self)
            else:
                call.add_done_callback(lambda _: callback(self))

        self._task.add_done_callback(returned)

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
        return await self._ask("details", "Locally cancelled by application!")

    async def debug_error_string(self) -> Any:
        """Wait for the end; return gRPC's own words on it."""
        return await self._ask("debug_error_string", "")

    async def wait_for_connection(self) -> None:
        """Wait until the call below is on a connection."""
        await (await self._task).wait_for_connection()


class _Answer(grpc.aio.Call):
    """An interceptor's own answer, in the place of a call."""

    def __init__(self, answer: Any, one_response: bool) -> None:
        self._answer = answer
        self._one_response = one_response

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self._answer

    async def __aiter__(self) -> AsyncIterator[Any]:
        if inspect.isasyncgen(self._answer) or hasattr(self._answer, "__aiter__"):
            async for message in self._answer:
                yield message
        else:
            for message in self._answer:
                yield message

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def add_done_callback(self, callback: Any) -> None:
        callback(self)

    def time_remaining(self) -> float | None:
        return None

    async def initial_metadata(self) -> Any:
        return None

    async def trailing_metadata(self) -> Any:
        return None

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    async def debug_error_string(self) -> str | None:
        return None

    async def wait_for_connection(self) -> None:
        return
