"""``meshlb.insecure_channel`` and ``meshlb.secure_channel``: drop-ins for gRPC's, for threads."""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from meshlb.client import link, sharing
from meshlb.client.hedged_course import HedgedUnaryUnary
from meshlb.client.hedged_stream import HedgedUnaryStream
from meshlb.client.method import Method
from meshlb.client.node import LinkState
from meshlb.client.options import Options
from meshlb.client.options import parse as parse_options
from meshlb.client.stream_call import StreamStream, StreamUnary, UnaryStream
from meshlb.client.target import parse as parse_target
from meshlb.client.unary_call import UnaryUnary
from meshlb.client.view import View
from meshlb.errors import InvalidInputError
from meshlb.security.client_tls import Credentials

Connectivity = grpc.ChannelConnectivity
_STATES = {
    LinkState.READY: Connectivity.READY,
    LinkState.CONNECTING: Connectivity.CONNECTING,
    LinkState.IDLE: Connectivity.IDLE,
    LinkState.DOWN: Connectivity.TRANSIENT_FAILURE,
}


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.Channel:
    """Return a channel that picks a node for each call; ``target`` is mesh://HOST:PORT/SERVICE.

    Takes what ``grpc.insecure_channel`` takes, and the options of docs/client.md. Opens nothing
    before the first call. Raises InvalidInputError for a wrong target or option.
    """
    return MeshChannel(target, None, parse_options(options), compression)


def secure_channel(
    target: str,
    credentials: Credentials,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.Channel:
    """Return the same over TLS: ``credentials`` are for nodes and controllers alike.

    Those of ``meshlb.tls`` follow their files; gRPC's own stay as they are for ever.
    The option ``meshlb.controller_credentials`` gives controllers their own; None is plain text.
    """
    if not isinstance(credentials, Credentials):
        raise InvalidInputError(
            f"credentials = {type(credentials).__name__}: meshlb.tls or grpc.ChannelCredentials",
            reason="INVALID_OPTION",
        )
    return MeshChannel(target, credentials, parse_options(options), compression)


class MeshChannel(grpc.Channel):
    """A gRPC channel over all nodes of a service."""

    def __init__(
        self,
        target: str,
        credentials: Credentials | None,
        options: Options,
        compression: grpc.Compression | None,
    ) -> None:
        self._closed = False
        self._options = options
        self._group = sharing.join(
            parse_target(target),
            credentials,
            options,
            ("threads", compression),
            link.opener(credentials, options.node_options, compression),
        )
        self._view = View(self._group.routes, options.picker, options.picker_params, options.zone)
        self._calls: weakref.WeakSet[Any] = weakref.WeakSet()
        self._watchers: dict[Callable[[Connectivity], None], Callable[[], None]] = {}
        self._lock = threading.Lock()

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        """Return a multi-callable, as ``grpc.Channel`` does."""
        made = self._method("unary_unary", method, request_serializer, response_deserializer)
        return UnaryUnary(made) if made.hedge is None else HedgedUnaryUnary(made)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable[Any, Any]:
        """Return a multi-callable, as ``grpc.Channel`` does."""
        made = self._method("unary_stream", method, request_serializer, response_deserializer)
        return UnaryStream(made) if made.hedge is None else HedgedUnaryStream(made)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable[Any, Any]:
        """Return a multi-callable, as ``grpc.Channel`` does."""
        return StreamUnary(
            self._method("stream_unary", method, request_serializer, response_deserializer)
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable[Any, Any]:
        """Return a multi-callable, as ``grpc.Channel`` does."""
        return StreamStream(
            self._method("stream_stream", method, request_serializer, response_deserializer)
        )

    def _method(self, arity: str, name: str, serializer: Any, deserializer: Any) -> Method:
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        made = Method(
            self._view,
            self._group,
            self._options,
            arity,
            name,
            serializer,
            deserializer,
            self._calls,
        )
        made.owner = self
        return made

    def subscribe(
        self, callback: Callable[[Connectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Tell ``callback`` the connectivity of the mesh as a whole, now and at each change."""
        if self._closed:
            raise ValueError("Cannot subscribe to a closed channel!")
        if try_to_connect:
            self._group.open()
        last: list[Connectivity] = []
        lock = threading.Lock()

        def tell() -> None:
            with lock:
                if try_to_connect:
                    self._view.refresh()
                state = self._connectivity()
                if last != [state]:
                    last[:] = [state]
                    callback(state)

        with self._lock:
            self._watchers[callback] = self._group.routes.listen(
                lambda: threading.Thread(target=tell, daemon=True).start()
            )
        threading.Thread(target=tell, daemon=True).start()

    def unsubscribe(self, callback: Callable[[Connectivity], None]) -> None:
        """End what ``subscribe`` began."""
        with self._lock:
            stop = self._watchers.pop(callback, None)
        if stop is not None:
            stop()

    def _connectivity(self) -> Connectivity:
        if not self._closed and not self._group.opened:
            return Connectivity.IDLE
        return connectivity(self._group.routes, self._closed)

    def close(self) -> None:
        """Cancel this channel's calls, and let go of what it shares. Twice does no harm."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for stop in list(self._watchers.values()):
            stop()
        self._view.close()
        for call in list(self._calls):
            call.cancel()
        self._group.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if sys.is_finalizing():  # threads stand still by now: whoever waits for one waits for ever
            return
        with contextlib.suppress(Exception):  # half made
            self.close()


def connectivity(routes: Any, closed: bool) -> Connectivity:
    """Return one state for all nodes: READY if one is, else the best of them."""
    if closed:
        return Connectivity.SHUTDOWN
    if routes.table is None:
        return Connectivity.CONNECTING if routes.refusal is None else Connectivity.TRANSIENT_FAILURE
    states = {node.link_state for node in list(routes.nodes.values())}
    return next((_STATES[state] for state in _STATES if state in states), Connectivity.CONNECTING)
