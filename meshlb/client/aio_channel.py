"""``meshlb.aio.insecure_channel`` and ``secure_channel``: drop-ins for grpc.aio's.

A channel belongs to the loop of its first call, so one made outside of any loop works in
``asyncio.run``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Self

import grpc
import grpc.aio

from meshlb.client import aio_interceptors, aio_link, sharing
from meshlb.client.aio_calls import (
    StreamStreamCall,
    StreamUnaryCall,
    UnaryStreamCall,
    UnaryUnaryCall,
)
from meshlb.client.aio_course import AioCourse
from meshlb.client.aio_replay import AioReplay
from meshlb.client.channel import connectivity
from meshlb.client.method import Method
from meshlb.client.options import Options
from meshlb.client.options import parse as parse_options
from meshlb.client.routes import View
from meshlb.client.target import parse as parse_target

Connectivity = grpc.ChannelConnectivity
_CALLS = {
    "unary_unary": UnaryUnaryCall,
    "unary_stream": UnaryStreamCall,
    "stream_unary": StreamUnaryCall,
    "stream_stream": StreamStreamCall,
}


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Return a channel that picks a node for each call; ``target`` is mesh://HOST:PORT/SERVICE.

    Takes what ``grpc.aio.insecure_channel`` takes, and the options of docs/client.md. Opens
    nothing before the first call. Raises InvalidInputError for a wrong target or option.
    """
    return AioMeshChannel(target, None, parse_options(options), compression, interceptors)


def secure_channel(
    target: str,
    credentials: grpc.ChannelCredentials,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Return the same over TLS: ``credentials`` are for nodes and controllers alike.

    The option ``meshlb.controller_credentials`` gives controllers their own; None is plain text.
    """
    return AioMeshChannel(target, credentials, parse_options(options), compression, interceptors)


class AioMeshChannel(grpc.aio.Channel):
    """A grpc.aio channel over all nodes of a service."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> None:
        self._target = parse_target(target)
        self._credentials = credentials
        self._options = options
        self._compression = compression
        self._interceptors = aio_interceptors.by_arity(interceptors)
        self._closed = False
        self._group: sharing.Group | None = None
        self._bound: View | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: set[Any] = set()
        """Courses of the calls that run."""

    def view(self) -> View:
        """Return the view of this channel's loop; bound at the first call."""
        if self._bound is None:
            if self._closed:
                raise grpc.aio.UsageError("Channel is closed.")
            loop = self._loop = asyncio.get_running_loop()
            self._group = sharing.join(
                self._target,
                self._credentials,
                self._options,
                (loop, self._compression),
                aio_link.opener(self._credentials, self._options.node_options, self._compression),
            )
            options = self._options
            self._bound = View(
                self._group.routes, options.picker, options.picker_params, options.zone
            )
        return self._bound

    def _multi(self, arity: str, name: str, serializer: Any, deserializer: Any) -> _Multi:
        kind = _Intercepted if self._interceptors[arity] else _Multi
        return kind(self, arity, name, serializer, deserializer)

    def bind(self, arity: str, name: str, serializer: Any, deserializer: Any) -> Method:
        """Return a method bound to this channel's loop."""
        view = self.view()
        assert self._group is not None
        return Method(
            view, self._group, self._options, arity, name, serializer, deserializer, self._calls
        )

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return self._multi("unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return self._multi("unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return self._multi("stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return self._multi("stream_stream", method, request_serializer, response_deserializer)

    def get_state(self, try_to_connect: bool = False) -> Connectivity:
        """Return the connectivity of the mesh as a whole."""
        if self._closed:
            return Connectivity.SHUTDOWN
        view = self.view()
        assert self._group is not None
        if try_to_connect:
            self._group.open()
            view.refresh()
        elif not self._group.opened:
            return Connectivity.IDLE
        return connectivity(view.routes, self._closed)

    async def wait_for_state_change(self, last_observed_state: Connectivity) -> None:
        """Return once the state is another than the given one."""
        view = self.view()
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        stop = view.routes.listen(tell)
        try:
            while self.get_state(try_to_connect=self._opened()) is last_observed_state:
                await changed.wait()
                changed.clear()
        finally:
            stop()

    def _opened(self) -> bool:
        return self._group is not None and self._group.opened and not self._closed

    async def channel_ready(self) -> None:
        """Return once a node can be called; connects if need be."""
        state = self.get_state(try_to_connect=True)
        while state is not Connectivity.READY:
            if state is Connectivity.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            await self.wait_for_state_change(state)
            state = self.get_state(try_to_connect=True)

    async def close(self, grace: float | None = None) -> None:
        """Refuse new calls, give those that run ``grace`` seconds, cancel the rest."""
        if self._closed:
            return
        self._closed = True
        if self._bound is None or self._group is None:
            return
        self._bound.close()
        running = list(self._calls)
        if grace and running:
            ended = asyncio.Event()

            def one_ended() -> None:
                if all(call.ended for call in running):
                    ended.set()

            for call in running:
                call.callbacks.append(one_ended)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), grace)
        for call in list(self._calls):
            call.cancel()
        self._group.release()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *what: object) -> None:
        await self.close(None)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and getattr(self, "_group", None) is not None:
            self._closed = True
            with contextlib.suppress(Exception):  # the interpreter may be ending
                self._group.release()  # type: ignore[union-attr]


class _Multi:
    """A multi-callable: one method of one channel."""

    __slots__ = ("_arguments", "_arity", "_call", "_channel", "_method")

    def __init__(
        self, channel: AioMeshChannel, arity: str, name: str, serializer: Any, deserializer: Any
    ) -> None:
        self._channel = channel
        self._arity = arity
        self._arguments = (name, serializer, deserializer)
        self._method: Method | None = None
        self._call: Any = _CALLS[arity]

    def __call__(
        self,
        request: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
        request_iterator: Any = None,
    ) -> Any:
        """Begin a call, and return it; where requests stream, ``request`` is their iterator."""
        if request is None:
            request = request_iterator
        args = (metadata, credentials, wait_for_ready, compression)
        return self._begin(request, timeout, args)

    def _begin(self, request: Any, timeout: float | None, args: tuple[Any, Any, Any, Any]) -> Any:
        method = self._method
        if method is None:
            method = self._method = self._channel.bind(self._arity, *self._arguments)
        replay = AioReplay(request) if self._arity.startswith("stream_") else None
        return self._call(AioCourse(method, request, timeout, args, replay))


class _Intercepted(_Multi):
    """The same below the channel's interceptors."""

    __slots__ = ()

    def _begin(self, request: Any, timeout: float | None, args: tuple[Any, Any, Any, Any]) -> Any:
        metadata, credentials, wait_for_ready, compression = args
        channel = self._channel
        channel.view()  # a closed channel, or no loop, is the caller's error now
        interceptors = channel._interceptors[self._arity]
        details = grpc.aio.ClientCallDetails(
            self._arguments[0].encode(),  # type: ignore[arg-type] # bytes, as grpc.aio has it
            timeout,
            metadata if isinstance(metadata, grpc.aio.Metadata) or metadata is None
            else grpc.aio.Metadata.from_tuple(tuple(metadata)),
            credentials,
            wait_for_ready,
        )  # fmt: skip

        def invoke(details: grpc.aio.ClientCallDetails, request: Any) -> Any:
            name = details.method.decode() if isinstance(details.method, bytes) else details.method
            below = self
            if name != self._arguments[0]:
                below = _Intercepted(channel, self._arity, name, *self._arguments[1:])
            changed = (details.metadata, details.credentials, details.wait_for_ready, compression)
            return _Multi._begin(below, request, details.timeout, changed)

        streams = self._arity.startswith("stream_")
        replay = AioReplay(request) if streams else None
        return aio_interceptors.InterceptedCall(
            lambda first: aio_interceptors.run_chain(
                self._arity, interceptors, invoke, details, first
            ),
            request,
            replay,
            self._arity.endswith("_unary"),
        )
