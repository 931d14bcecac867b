"""One gRPC channel to one node, for threads.

Readiness is learned from a connectivity subscription, which costs a thread, so it is held only
while the node is not connected. A call that fails tells the rest.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from meshlb.client.node import LinkState, Node
from meshlb.client.routes import Routes
from meshlb.security.client_tls import Credentials, channel_credentials

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
PROBE_S = 1.0
"""A server has so long to answer a probe; whatever it says, it is alive."""
POLL_ENDS_S = 0.5
"""gRPC polls connectivity every 0.2 s, so its thread has ended by then, if it got to run."""
NO_ANSWER = (
    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED,
)  # fmt: skip
"""What a probe ends with that no server answered."""
LOOKS = 20
"""How often to look whether it has: a busy machine may hold it up."""


class ThreadLink:
    """A link as ``Routes`` wants it."""

    __slots__ = (
        "_closed",
        "_lock",
        "_node",
        "_routes",
        "_succeeded",
        "_watched_until",
        "_watching",
        "channel",
        "methods",
    )

    def __init__(self, routes: Routes, node: Node, channel: grpc.Channel) -> None:
        self.channel = channel
        self.methods: dict[Any, Any] = {}
        """The channel's multi-callables, by a method's identity."""
        self._routes = routes
        self._node = node
        self._lock = threading.Lock()
        self._watching = False
        self._watched_until = 0.0
        self._closed = False
        self._succeeded: Callable[[], None] | None = None
        """Called once connected, of a link that is to take another's place."""

    def succeed(self, ready: Callable[[], None]) -> None:
        """Begin to connect; call ``ready`` once connected, and say nothing of the node before."""
        self._succeeded = ready
        self._watch()

    def retire(self) -> None:
        """Say nothing of the node any more; gRPC closes the channel when its calls have ended."""
        with self._lock:
            self._closed = True
        with contextlib.suppress(ValueError):
            self.channel.unsubscribe(self._changed)

    def connect(self) -> None:
        """Begin to connect, and say so."""
        self._routes.link_changed(self._node, self, LinkState.CONNECTING)
        self._watch()

    def refused(self) -> None:
        """Note that a call could not reach the node: no picks until it is connected again."""
        self._routes.link_changed(self._node, self, LinkState.DOWN)
        self._watch()

    def lost(self) -> None:
        """Note that a call's connection broke: others first, until it is known to be back."""
        self._routes.link_changed(self._node, self, LinkState.CONNECTING)
        self._watch()

    def probe(self, alive: Callable[[], None]) -> None:
        """Ask the server for its health in the background; call ``alive`` if it answers at all."""

        def ended(call: Any) -> None:
            if call.code() not in NO_ANSWER:
                alive()

        with contextlib.suppress(ValueError):  # closed meanwhile
            check: Any = self.channel.unary_unary(HEALTH_CHECK)
            call = check.future(b"", timeout=PROBE_S)
            call.add_done_callback(ended)

    def close(self) -> None:
        """Close the channel, which cancels calls on it; soon, if it was being watched just now."""
        with self._lock:
            self._closed = True
            watched = self._watching or time.monotonic() < self._watched_until
        if not watched:
            self.channel.close()
            return
        with contextlib.suppress(ValueError):
            self.channel.unsubscribe(self._changed)
        self._close_later(LOOKS)

    def _close_later(self, looks: int) -> None:
        later = threading.Timer(POLL_ENDS_S, self._close_unless_polled, (looks,))
        later.daemon = True
        later.start()

    def _close_unless_polled(self, looks: int) -> None:
        # gRPC's polling thread prints a traceback if the channel closes before it has ended.
        polled = getattr(getattr(self.channel, "_connectivity_state", None), "polling", False)
        if polled and looks > 1:
            self._close_later(looks - 1)
        else:
            self.channel.close()

    def close_soon(self) -> None:
        """Close in a thread of its own: gRPC's, in which calls end, would wait for itself."""
        threading.Thread(target=self.close, name="meshlb closes a link", daemon=True).start()

    def _watch(self) -> None:
        with self._lock:
            if self._watching or self._closed:
                return
            self._watching = True
        with contextlib.suppress(ValueError):  # closed meanwhile
            self.channel.subscribe(self._changed, try_to_connect=True)
            if self._closed:
                self.channel.unsubscribe(self._changed)

    def _changed(self, state: grpc.ChannelConnectivity) -> None:
        if self._closed:
            return  # the node may have another link by now
        if state is grpc.ChannelConnectivity.READY:
            with self._lock:
                self._watching = False
                self._watched_until = time.monotonic() + POLL_ENDS_S
            with contextlib.suppress(ValueError):
                self.channel.unsubscribe(self._changed)
            if self._succeeded is not None:
                ready, self._succeeded = self._succeeded, None
                ready()
                return
            self._routes.link_changed(self._node, self, LinkState.READY)
        elif self._succeeded is not None:
            return
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._routes.link_changed(self._node, self, LinkState.DOWN)


def opener(
    credentials: Credentials | None,
    options: tuple[tuple[str, Any], ...],
    compression: grpc.Compression | None,
) -> Any:
    """Return the function that opens links with these credentials and options."""

    def open_link(routes: Routes, node: Node) -> ThreadLink:
        named = node_options(node, options, credentials is not None)
        channel = (
            grpc.insecure_channel(node.info.address, named, compression)
            if credentials is None
            else grpc.secure_channel(
                node.info.address, channel_credentials(credentials), named, compression
            )
        )
        return ThreadLink(routes, node, channel)

    return open_link


def node_options(
    node: Node, options: tuple[tuple[str, Any], ...], secure: bool
) -> list[tuple[str, Any]]:
    """Return the options of one node's channel; its authority is added where it has its own."""
    named = list(options)
    if node.info.authority:
        named.append(("grpc.default_authority", node.info.authority))
        if secure:
            named.append(("grpc.ssl_target_name_override", node.info.authority))
    return named
