"""One gRPC channel to one node, for asyncio.

A task follows its connectivity until it is connected; from then on a timer looks, and calls that
fail tell the rest. A watch that is still pending when its loop has ended makes gRPC print a
traceback into the next loop, and gRPC ends none while the caller holds a call of that channel.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from meshlb.client.link import HEALTH_CHECK, NO_ANSWER, PROBE_S, node_options
from meshlb.client.node import LinkState, Node
from meshlb.client.routes import Routes
from meshlb.security.client_tls import Credentials, channel_credentials

_READY = grpc.ChannelConnectivity.READY
_STATES = {
    _READY: LinkState.READY,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE: LinkState.DOWN,
}
RECHECK_S = 0.05
LOOK_EVERY_S = 0.1
"""At a connected node: a look costs two microseconds."""
CLOSES_IN_S = 0.2


class AioLink:
    """A link as ``Routes`` wants it; all but ``close`` belong to the loop."""

    __slots__ = (
        "_closing", "_loop", "_node", "_probing", "_retired", "_routes", "_succeeded", "_watching",
        "channel",
    )  # fmt: skip

    def __init__(self, routes: Routes, node: Node, channel: grpc.aio.Channel) -> None:
        self.channel: Any = channel
        self._routes = routes
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._retired = False
        self._succeeded: Callable[[], None] | None = None
        """Called once connected, of a link that is to take another's place."""

    def succeed(self, ready: Callable[[], None]) -> None:
        """Begin to connect; call ``ready`` once connected, and say nothing of the node before."""
        self._succeeded = ready
        self._watching = self._loop.create_task(self._watch())

    def retire(self) -> None:
        """Say nothing of the node any more; gRPC closes the channel when its calls have ended."""
        self._retired = True

    def connect(self) -> None:
        """Begin to connect, and say so."""
        self._routes.link_changed(self._node, self, LinkState.CONNECTING)
        if self._watching is None:
            self._watching = self._loop.create_task(self._watch())

    def refused(self) -> None:
        """Note that a call could not reach the node: no picks until it is connected again."""
        self._routes.link_changed(self._node, self, LinkState.DOWN)
        self._loop.call_later(RECHECK_S, self._look)

    def lost(self) -> None:
        """Note that a call's connection broke: others first, until it is known to be back."""
        self._routes.link_changed(self._node, self, LinkState.CONNECTING)
        self._loop.call_later(RECHECK_S, self._look)

    def probe(self, alive: Callable[[], None]) -> None:
        """Ask the server for its health soon; call ``alive`` if it answers at all. Any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._probe, alive)

    def _probe(self, alive: Callable[[], None]) -> None:
        if self._closing is None and self._probing is None:
            self._probing = self._loop.create_task(self._ask(alive))

    async def _ask(self, alive: Callable[[], None]) -> None:
        try:
            code = await self.channel.unary_unary(HEALTH_CHECK)(b"", timeout=PROBE_S).code()
        finally:
            self._probing = None
        if code not in NO_ANSWER:
            alive()

    def close(self) -> None:
        """Close the channel soon; from any thread, and harmless once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._close)

    def close_soon(self) -> None:
        """As ``close``, which never waits."""
        self.close()

    async def closed(self) -> None:
        """Wait until the channel is closed, if that has begun: others may still use it."""
        if self._closing is not None:
            await asyncio.wait((self._closing,))

    def _close(self) -> None:
        if self._closing is None:
            self._closing = self._loop.create_task(self._stop())

    async def _stop(self) -> None:
        await self.channel.close()
        if self._watching is not None:
            # Closing ends the watch, unless the caller holds a call.
            await asyncio.wait((self._watching,), timeout=CLOSES_IN_S)
            self._watching.cancel()
        # gRPC's polling thread, which forbids a fork, ends with the last channel there is, and
        # link and node hold each other.
        self.channel = None

    def _look(self) -> grpc.ChannelConnectivity | None:
        """Tell what state the channel is in now; None: it is closed.

        The watch tells changes only, and a failed call may contradict what it told last.
        """
        if self._closing is not None or self._retired:
            return None
        state: grpc.ChannelConnectivity = self.channel.get_state(try_to_connect=True)
        if self._succeeded is not None:
            if state is _READY:
                ready, self._succeeded = self._succeeded, None
                ready()
            return state
        # A node that fails stays down while it is being connected to again.
        if (
            state is not grpc.ChannelConnectivity.CONNECTING
            or self._node.link_state is not LinkState.DOWN
        ):
            self._routes.link_changed(self._node, self, _STATES.get(state, LinkState.CONNECTING))
        return state

    async def _watch(self) -> None:
        while (state := self._look()) is not None and state is not _READY:
            try:
                await self.channel.wait_for_state_change(state)
            except (grpc.aio.UsageError, RuntimeError, AssertionError):  # closed meanwhile
                return
        self._loop.call_later(LOOK_EVERY_S, self._look_again)

    def _look_again(self) -> None:
        state = self._look()
        if state is _READY:
            self._loop.call_later(LOOK_EVERY_S, self._look_again)
        elif state is not None:
            self._watching = self._loop.create_task(self._watch())


def opener(
    credentials: Credentials | None,
    options: tuple[tuple[str, Any], ...],
    compression: grpc.Compression | None,
) -> Any:
    """Return the function that opens links with these credentials and options."""

    def open_link(routes: Routes, node: Node) -> AioLink:
        named = node_options(node, options, credentials is not None)
        channel = (
            grpc.aio.insecure_channel(node.info.address, named, compression)
            if credentials is None
            else grpc.aio.secure_channel(
                node.info.address, channel_credentials(credentials), named, compression
            )
        )
        return AioLink(routes, node, channel)

    return open_link
