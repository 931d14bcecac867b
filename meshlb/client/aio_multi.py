"""The multi-callables of an asyncio channel: one class an arity, as grpc.aio has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from meshlb.client import aio_calls, aio_intercepted
from meshlb.client.aio_course import AioCourse, AioMethod, Arguments
from meshlb.client.aio_hedged import AioHedgedCourse, HedgedUnaryUnaryCall
from meshlb.client.aio_hedged_stream import AioHedgedStreamCourse
from meshlb.client.aio_interceptors import Chain
from meshlb.client.aio_replay import AioReplay
from meshlb.client.aio_stream_course import AioStreamCourse

if TYPE_CHECKING:
    from meshlb.client.aio_channel import AioMeshChannel

_running_loop = asyncio.get_running_loop
_CALLS: dict[str, Any] = {
    "unary_unary": aio_calls.UnaryUnaryCall,
    "unary_stream": aio_calls.UnaryStreamCall,
    "stream_unary": aio_calls.StreamUnaryCall,
    "stream_stream": aio_calls.StreamStreamCall,
}


class _Multi:
    """One method of one channel."""

    def __init__(
        self, channel: AioMeshChannel, arity: str, name: str, serializer: Any, deserializer: Any
    ) -> None:
        self._channel = channel
        self._arity = arity
        self._arguments = (name, serializer, deserializer)
        self._call = _CALLS[arity]
        self._course = AioStreamCourse if arity.startswith("stream_") else AioCourse
        self._interceptors = channel.interceptors[arity]
        self._method: AioMethod | None = None

    def _bound(self) -> AioMethod:
        """Return the method in the loop that runs."""
        method = self._method
        if method is None or method.loop is not _running_loop():
            method = self._method = self._channel.bind(self._arity, *self._arguments)
        return method

    def _begin(self, request: Any, timeout: float | None, args: Arguments) -> Any:
        """Begin a call below all interceptors; return what its caller holds."""
        channel = self._channel
        if channel.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        method = self._bound()
        if method.hedge is not None:
            if self._arity == "unary_stream":
                return self._call(AioHedgedStreamCourse(method, request, timeout, args))
            return HedgedUnaryUnaryCall(AioHedgedCourse(method, request, timeout, args))
        return self._call(self._course(method, request, timeout, args))

    def _intercept(self, request: Any, timeout: float | None, args: Arguments) -> Any:
        """Begin a call above the interceptors."""
        channel, arity = self._channel, self._arity
        if channel.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        self._bound()  # a wrong loop is the caller's error now
        metadata, credentials, wait_for_ready, compression = args
        if not isinstance(metadata, grpc.aio.Metadata):  # which is what interceptors count on
            metadata = grpc.aio.Metadata.from_tuple(tuple(metadata or ()))
        name = self._arguments[0]
        details = grpc.aio.ClientCallDetails(
            name.encode(),  # type: ignore[arg-type] # bytes, as grpc.aio has it
            timeout,
            metadata,
            credentials,
            wait_for_ready,
        )

        def invoke(details: grpc.aio.ClientCallDetails, request: Any) -> Any:
            changed = details.method
            if isinstance(changed, bytes):
                changed = changed.decode()
            multi = self
            if changed != name:
                multi = type(self)(channel, arity, changed, *self._arguments[1:])
            return multi._begin(
                request,
                details.timeout,
                (details.metadata, details.credentials, details.wait_for_ready, compression),
            )

        replay = AioReplay(request) if arity.startswith("stream_") else None
        chain = Chain(arity, self._interceptors, invoke)
        call = aio_intercepted.CALLS[arity](
            chain.run(0, details, request if replay is None else replay.reader()), timeout, replay
        )
        channel.intercepted.add(call)
        return call


class _OneRequest(_Multi):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin a call, and return it."""
        begin = self._intercept if self._interceptors else self._begin
        return begin(request, timeout, (metadata, credentials, wait_for_ready, compression))


class _ManyRequests(_Multi):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin a call, and return it; without an iterator, its caller writes."""
        begin = self._intercept if self._interceptors else self._begin
        args = (metadata, credentials, wait_for_ready, compression)
        return begin(request_iterator, timeout, args)


class UnaryUnary(_OneRequest, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One request, one response."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin a call, and return it: the hot path, written out."""
        method = self._method
        args = (metadata, credentials, wait_for_ready, compression)
        if self._interceptors:
            return self._intercept(request, timeout, args)
        if (
            method is None
            or method.hedge is not None
            or self._channel.closed
            or method.loop is not _running_loop()
        ):
            return self._begin(request, timeout, args)
        return aio_calls.UnaryUnaryCall(AioCourse(method, request, timeout, args))


class UnaryStream(_OneRequest, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """One request, many responses."""


class StreamUnary(_ManyRequests, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """Many requests, one response."""


class StreamStream(_ManyRequests, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """Many requests, many responses."""
