"""Why a call has no node, how long it waits for one, and the error if none comes."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc

from meshlb.client.gate import Ticket
from meshlb.client.node import Node
from meshlb.client.retry import PUSHBACK_KEY
from meshlb.client.routes import Routes
from meshlb.client.view import View
from meshlb.model import NodeState
from meshlb.security.hints import hint


class NoNodeError(grpc.RpcError, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that ended before it had a node; reads like any failed call of gRPC's."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[Any, ...] = ()) -> None:
        super().__init__(details)
        self._code = code
        self._details = details
        self._trailing = trailing

    def __str__(self) -> str:
        return f"<meshlb: call ended with {self._code.name}: {self._details}>"

    __repr__ = __str__

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return what happened and what to check."""
        return self._details

    def debug_error_string(self) -> str:
        """Return the same: there is no more to tell."""
        return self._details

    def initial_metadata(self) -> tuple[Any, ...]:
        """Return none."""
        return ()

    def trailing_metadata(self) -> tuple[Any, ...]:
        """Return what goes with the error."""
        return self._trailing

    def is_active(self) -> bool:
        """Return False: it ended."""
        return False

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Return None: it ended."""
        return None

    def cancel(self) -> bool:
        """Do nothing: it ended."""
        return False

    def cancelled(self) -> bool:
        """Return whether the caller ended it."""
        return self._code is grpc.StatusCode.CANCELLED

    def running(self) -> bool:
        """Return False: it ended."""
        return False

    def done(self) -> bool:
        """Return True."""
        return True

    def add_callback(self, callback: Any) -> bool:
        """Do nothing: it ended."""
        del callback
        return False

    def result(self, timeout: float | None = None) -> Any:
        """Raise this error."""
        del timeout
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        """Return this error."""
        del timeout
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        """Return its traceback."""
        del timeout
        return self.__traceback__

    def add_done_callback(self, fn: Any) -> None:
        """Call it now."""
        fn(self)


class BrokenOffError(NoNodeError):
    """A stream that broke when nothing was missing any more, by its resume hook: it reads as OK."""

    def __init__(self, initial: tuple[Any, ...], trailing: tuple[Any, ...]) -> None:
        super().__init__(grpc.StatusCode.OK, "")
        self._metadata = initial, trailing

    def initial_metadata(self) -> tuple[Any, ...]:
        """Return that of the last node."""
        return self._metadata[0]

    def trailing_metadata(self) -> tuple[Any, ...]:
        """Return that of the last node."""
        return self._metadata[1]

    def result(self, timeout: float | None = None) -> Any:
        """Return None: what there was has been read."""
        del timeout

    def exception(self, timeout: float | None = None) -> None:  # type: ignore[override]
        """Return None: it ended well."""
        del timeout

    def traceback(self, timeout: float | None = None) -> Any:
        """Return None: it ended well."""
        del timeout


def every_node_refuses(routes: Routes, details: str | None) -> NoNodeError:
    """Return the error of a call that no node would take; ``details`` are of its last attempt."""
    told = f"{details or 'refused'}{hint(details)}"
    return NoNodeError(grpc.StatusCode.UNAVAILABLE, f"{told} ({_dead(routes)})")


def not_ready_in_time(routes: Routes, details: str | None) -> NoNodeError:
    """Return the error of a call whose deadline passed while every node refused it."""
    return NoNodeError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"waited for a node in vain: {_dead(routes)}; the last one said: {details or 'refused'}"
        f"{hint(details)}",
    )


def _dead(routes: Routes) -> str:
    nodes = [n.info for n in list(routes.nodes.values())]
    named = ", ".join(
        f"{n.node_id} at {n.address}" + (f" as {n.authority}" if n.authority else "")
        for n in nodes[:5]
    )
    more = f" and {len(nodes) - 5} more" if len(nodes) > 5 else ""
    return (
        f"service {routes.service!r}: no node can be reached, and all refuse calls: {named}{more}; "
        "check that they run, and that this address can reach them"
    )


def why_no_node(routes: Routes) -> str:
    """Return what a call that found no node waits for."""
    table = routes.table
    if table is None:
        return routes.refusal or (
            f"no routing table for service {routes.service!r} yet: the controller has not sent one"
        )
    if not table.nodes:
        return f"service {routes.service!r} has no node; is a sidecar running with this service?"
    open_ = [n for n in list(routes.nodes.values()) if n.info.state is not NodeState.DRAINING]
    if not open_:
        return f"all nodes of service {routes.service!r} are draining"
    named = ", ".join(f"{n.info.node_id} at {n.info.address}" for n in open_[:5])
    return f"no node of service {routes.service!r} is connected yet ({named})"


def refused(routes: Routes, wait_for_ready: bool | None) -> NoNodeError | None:
    """Return the error that a waiting call ends with now; None: it waits on."""
    if routes.closed:
        return NoNodeError(grpc.StatusCode.CANCELLED, "Channel closed!")
    if routes.refusal is not None and routes.table is None and not wait_for_ready:
        return NoNodeError(grpc.StatusCode.UNAVAILABLE, routes.refusal)
    return None


def too_late(routes: Routes) -> NoNodeError:
    """Return the error of a call whose deadline passed while it waited."""
    return NoNodeError(
        grpc.StatusCode.DEADLINE_EXCEEDED, f"waited for a node in vain: {why_no_node(routes)}"
    )


def no_room(refusal: str) -> NoNodeError:
    """Return the error of a call that is shed; it tells who repeats calls not to (gRFC A6)."""
    return NoNodeError(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal, ((PUSHBACK_KEY, "-1"),))


def waited_for_room(routes: Routes) -> NoNodeError:
    """Return the error of a call whose deadline passed in the line for room."""
    gate = routes.gate
    limit = None if gate is None else gate.limit
    return NoNodeError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"waited in vain for room: service {routes.service!r} is limited, and this client may "
        f"have {limit} calls in flight",
    )


def wait_for_room(
    view: View, deadline: float | None, kind: str, wait_for_ready: bool | None
) -> Ticket | None:
    """Block until a call may run that has no ticket yet; None: calls are not limited.

    Raises NoNodeError if there is no room, or none in time.
    """
    routes = view.routes
    gate = routes.gate
    if gate is None:
        return None
    told = threading.Event()
    ticket = gate.enter(kind, deadline, time.perf_counter(), lambda _: told.set())
    try:
        if ticket.waits:
            stop = routes.listen(told.set)
            try:
                while not (ticket.inside or ticket.refusal):
                    view.check_open()
                    error = refused(routes, wait_for_ready)
                    left_s = None if deadline is None else deadline - time.perf_counter()
                    if error is None and left_s is not None and left_s <= 0:
                        error = waited_for_room(routes)
                    if error is not None:
                        raise error
                    told.wait(left_s)
                    told.clear()
            finally:
                stop()
        if ticket.refusal is not None:
            raise no_room(ticket.refusal)
    except BaseException:
        ticket.leave(time.perf_counter())
        raise
    return ticket


def wait_for_node(
    view: View, deadline: float | None, wait_for_ready: bool | None, *, freely: bool = False
) -> Node | None:
    """Block until there is a node, and begin on it; raise NoNodeError if that cannot be.

    ``freely``: the call has no ticket, so None is returned once calls are limited.
    While it waits the call counts as waiting, which is demand that the controller sees.
    """
    routes = view.routes
    with routes.lock:
        routes.waiting += 1
    try:
        while True:
            now = time.perf_counter()
            seen = routes.generation
            if freely and routes.gate is not None:
                return None
            begun = view.begin(now)
            if begun is not None:
                return begun
            error = refused(routes, wait_for_ready)
            if error is not None:
                raise error
            if deadline is not None and now >= deadline:
                raise too_late(routes)
            left_s = None if deadline is None else deadline - now
            with routes.lock:
                if routes.generation == seen:
                    routes.changed.wait(left_s)
    finally:
        with routes.lock:
            routes.waiting -= 1
