"""``meshlb.aio.insecure_channel`` and ``secure_channel``: drop-ins for grpc.aio's.

A channel belongs to the loop of its first call, so one made outside of any loop works in
``asyncio.run``; once that loop has ended, or in a forked child, the next call binds it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any, Self

import grpc
import grpc.aio

from meshlb.client import aio_interceptors, aio_link, aio_multi, sharing
from meshlb.client.aio_course import AioCourse, AioMethod
from meshlb.client.aio_waiting import AioWaitingRoom
from meshlb.client.channel import connectivity
from meshlb.client.options import Options
from meshlb.client.options import parse as parse_options
from meshlb.client.target import parse as parse_target
from meshlb.client.view import View
from meshlb.errors import InvalidInputError
from meshlb.security.client_tls import Credentials

Connectivity = grpc.ChannelConnectivity


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
    credentials: Credentials,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Return the same over TLS: ``credentials`` are for nodes and controllers alike.

    Those of ``meshlb.tls`` follow their files; gRPC's own stay as they are for ever.
    The option ``meshlb.controller_credentials`` gives controllers their own; None is plain text.
    """
    if not isinstance(credentials, Credentials):
        raise InvalidInputError(
            f"credentials = {type(credentials).__name__}: meshlb.tls or grpc.ChannelCredentials",
            reason="INVALID_OPTION",
        )
    return AioMeshChannel(target, credentials, parse_options(options), compression, interceptors)


class _Bound:
    """A channel in one event loop."""

    def __init__(self, channel: AioMeshChannel) -> None:
        self.loop = asyncio.get_running_loop()
        options, credentials = channel.options, channel.credentials
        self.group = sharing.join(
            channel.target,
            credentials,
            options,
            (self.loop, channel.compression),
            aio_link.opener(credentials, options.node_options, channel.compression),
        )
        routes = self.group.routes
        self.view = View(routes, options.picker, options.picker_params, options.zone)
        self.waiting = AioWaitingRoom(routes)
        self.calls: set[AioCourse] = set()
        """Those that run."""
        self._pid = os.getpid()

    def gone(self) -> bool:
        """Return whether its loop can never run again: ended, or of the process forked from."""
        return self.loop.is_closed() or self._pid != os.getpid()

    def release(self) -> None:
        """Let go of what is shared; calls that an ended loop left are counted out."""
        for call in list(self.calls):
            call.abandon()
        self.group.release()


class AioMeshChannel(grpc.aio.Channel):
    """A grpc.aio channel over all nodes of a service."""

    def __init__(
        self,
        target: str,
        credentials: Credentials | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> None:
        self.closed = False
        self._here: _Bound | None = None
        self.target = parse_target(target)
        self.credentials = credentials
        self.options = options
        self.compression = compression
        self.interceptors = aio_interceptors.by_arity(interceptors)
        self.intercepted: weakref.WeakSet[Any] = weakref.WeakSet()
        """Calls that go through interceptors."""

    def bound(self) -> _Bound:
        """Return this channel in the loop that runs, which must be the one of its first call."""
        here = self._here
        if self.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        if here is not None and here.loop is not asyncio.get_running_loop():
            if not here.gone():
                raise grpc.aio.UsageError(
                    "Channel belongs to another event loop that still runs: one channel a loop."
                )
            here.release()
            here = None
        if here is None:
            here = self._here = _Bound(self)
        return here

    def bind(self, arity: str, name: str, serializer: Any, deserializer: Any) -> AioMethod:
        """Return a method in the loop that runs."""
        here = self.bound()
        made = AioMethod(
            here.view, here.group, self.options, arity, name, serializer, deserializer, here.calls
        )
        made.loop, made.waiting = here.loop, here.waiting
        made.begin, made.end = here.view.begin, here.group.routes.end
        made.owner = self
        return made

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return aio_multi.UnaryUnary(
            self, "unary_unary", method, request_serializer, response_deserializer
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return aio_multi.UnaryStream(
            self, "unary_stream", method, request_serializer, response_deserializer
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return aio_multi.StreamUnary(
            self, "stream_unary", method, request_serializer, response_deserializer
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as ``grpc.aio.Channel`` does."""
        return aio_multi.StreamStream(
            self, "stream_stream", method, request_serializer, response_deserializer
        )

    def get_state(self, try_to_connect: bool = False) -> Connectivity:
        """Return the connectivity of the mesh as a whole."""
        if self.closed:
            return Connectivity.SHUTDOWN
        if self._here is None and not try_to_connect:
            return Connectivity.IDLE
        here = self.bound()
        if try_to_connect:
            here.group.open()
            here.view.refresh()
        elif not here.group.opened:
            return Connectivity.IDLE
        return connectivity(here.view.routes, self.closed)

    async def wait_for_state_change(self, last_observed_state: Connectivity) -> None:
        """Return once the state is another than the given one."""
        while not self.closed:
            room = self.bound().waiting
            changed = room.enter()  # before the look, so that no change is missed
            try:
                # Nodes that came with a new table are connected to only if somebody looks.
                opened = self.get_state() is not Connectivity.IDLE
                if self.get_state(try_to_connect=opened) is not last_observed_state:
                    return
                await changed
            finally:
                room.leave(changed)

    async def channel_ready(self) -> None:
        """Return once a node can be called; connects if need be."""
        while (state := self.get_state(try_to_connect=True)) is not Connectivity.READY:
            if state is Connectivity.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        """Refuse new calls, give those that run ``grace`` seconds, cancel the rest."""
        here = self._here
        if self.closed or here is None or here.gone():
            self._drop()
            return
        self.closed = True
        here.view.close()
        running = [*here.calls, *(call for call in self.intercepted if not call.done())]
        if grace and running:
            await _until_all_ended(running, grace)
        for call in (*here.calls, *self.intercepted):
            call.cancel()
        links = [node.link for node in list(here.view.routes.nodes.values())]
        here.release()
        await asyncio.sleep(0)  # links begin to close
        for link in links:
            if link is not None:
                await link.closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *what: object) -> None:
        await self.close(None)

    def __del__(self) -> None:
        if sys.is_finalizing():  # threads stand still by now: whoever waits for one waits for ever
            return
        with contextlib.suppress(Exception):  # half made
            self._drop()

    def _drop(self) -> None:
        """Close without waiting for anything."""
        if not self.closed:
            self.closed = True
            if self._here is not None:
                self._here.release()


async def _until_all_ended(calls: Sequence[Any], limit_s: float) -> None:
    """Wait until the calls have ended, or the time has passed."""
    left = len(calls)
    ended = asyncio.Event()

    def one_ended() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            ended.set()

    for call in calls:
        call.when_ended(one_ended)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), limit_s)
