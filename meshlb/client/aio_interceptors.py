"""grpc.aio's client interceptors above the pick: each runs once a call, however many attempts.

gRPC's own chain needs its own channels, so this is one of ours. An interceptor may change details
and request, await the call that ``continuation`` returns, or answer by itself: with a response, or
for streams with an iterator of them. One that is of several of grpc.aio's classes serves all of
those arities.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Any

import grpc
import grpc.aio

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
    found: dict[str, list[Any]] = {arity: [] for arity in KINDS}
    for one in interceptors or ():
        fitting = [arity for arity, kind in KINDS.items() if isinstance(one, kind)]
        if not fitting:
            names = ", ".join(kind.__name__ for kind in KINDS.values())
            raise ValueError(f"Interceptor {one!r} must be one of {names}")
        for arity in fitting:
            found[arity].append(one)
    return found


class Chain:
    """One call's way through the interceptors; ``invoke`` is what stands below them all."""

    def __init__(self, arity: str, interceptors: Sequence[Any], invoke: Invoke) -> None:
        self._name = f"intercept_{arity}"
        self._answer = StreamAnswer if arity.endswith("_stream") else UnaryAnswer
        self._interceptors = interceptors
        self._invoke = invoke
        self._last: Any = None
        """The call made last, whose status is that of responses an interceptor hands on."""

    async def run(self, number: int, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        """Return a call: what the interceptor of this number, and those below it, make of it."""
        if number == len(self._interceptors):
            self._last = self._invoke(details, request)
            return self._last
        continuation = functools.partial(self.run, number + 1)
        intercept = getattr(self._interceptors[number], self._name)
        found = await intercept(continuation, details, request)
        if not isinstance(found, grpc.aio.Call):
            found = self._answer(found, self._last)
        self._last = found
        return found


class UnaryAnswer(grpc.aio.UnaryUnaryCall, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """A response in the place of a call: it has ended, and well."""

    _channel = None
    """As in ``aio_calls``."""

    def __init__(self, response: Any, call: Any) -> None:
        del call
        self._response = response

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self._response

    async def write(self, request: Any) -> None:
        """Drop it: the answer is there already."""

    async def done_writing(self) -> None:
        """Do nothing."""

    def cancel(self) -> bool:
        """Return False: it has ended."""
        return False

    def cancelled(self) -> bool:
        """Return False."""
        return False

    def done(self) -> bool:
        """Return True."""
        return True

    def add_done_callback(self, callback: Any) -> None:
        """Call it now."""
        callback(self)

    def time_remaining(self) -> float | None:
        """Return None."""
        return None

    async def initial_metadata(self) -> Any:
        """Return None, as grpc.aio does."""
        return None

    async def trailing_metadata(self) -> Any:
        """Return None, as grpc.aio does."""
        return None

    async def code(self) -> grpc.StatusCode:
        """Return OK."""
        return grpc.StatusCode.OK

    async def details(self) -> str:
        """Return nothing."""
        return ""

    async def debug_error_string(self) -> str | None:
        """Return None, as grpc.aio does."""
        return None

    async def wait_for_connection(self) -> None:
        """Return: there is nothing to wait for."""


class StreamAnswer(grpc.aio.UnaryStreamCall, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """An iterator of responses in the place of a call; all else is of the call made, if any."""

    _channel = None
    """As in ``aio_calls``."""

    def __init__(self, responses: Any, call: Any) -> None:
        is_async = hasattr(responses, "__aiter__")
        self._responses = aiter(responses) if is_async else _each(responses)
        self._call = UnaryAnswer(None, None) if call is None else call

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses

    async def read(self) -> Any:
        """Return the next response, or grpc.aio.EOF after the last."""
        return await anext(self._responses, EOF)

    async def write(self, request: Any) -> None:
        """Send one request by the call made."""
        await self._call.write(request)

    async def done_writing(self) -> None:
        """Say by the call made that there are no more requests."""
        await self._call.done_writing()

    def cancel(self) -> bool:
        """End the call made."""
        return bool(self._call.cancel())

    def cancelled(self) -> bool:
        """Return whether the call made was cancelled."""
        return bool(self._call.cancelled())

    def done(self) -> bool:
        """Return whether the call made has ended."""
        return bool(self._call.done())

    def add_done_callback(self, callback: Any) -> None:
        """Call back at the end of the call made."""
        self._call.add_done_callback(lambda _: callback(self))

    def time_remaining(self) -> float | None:
        """Return seconds to the deadline of the call made."""
        left_s: float | None = self._call.time_remaining()
        return left_s

    async def initial_metadata(self) -> Any:
        """Wait for that of the call made."""
        return await self._call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        """Wait for that of the call made."""
        return await self._call.trailing_metadata()

    async def code(self) -> Any:
        """Wait for that of the call made."""
        return await self._call.code()

    async def details(self) -> Any:
        """Wait for that of the call made."""
        return await self._call.details()

    async def debug_error_string(self) -> Any:
        """Wait for that of the call made."""
        return await self._call.debug_error_string()

    async def wait_for_connection(self) -> None:
        """Wait for that of the call made."""
        await self._call.wait_for_connection()


async def _each(responses: Any) -> AsyncIterator[Any]:
    for response in responses:
        yield response
