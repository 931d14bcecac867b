"""Calls of one request and one response, for threads: the hot path of the stub.

``__call__`` is written out by hand: what it adds to gRPC's own call is a pick, two counts and two
looks at the clock. All else happens only after an attempt has failed.
"""

from __future__ import annotations

import time
from typing import Any

import grpc

from meshlb.client.course import Course
from meshlb.client.gate import class_of
from meshlb.client.method import Method
from meshlb.client.node import Node, Outcome
from meshlb.client.running_call import RunningCall
from meshlb.client.waiting import (
    every_node_refuses,
    not_ready_in_time,
    wait_for_node,
    wait_for_room,
)

_now = time.perf_counter
_OK = Outcome.OK


class UnaryUnary(grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """A drop-in for the multi-callable of ``grpc.Channel.unary_unary``."""

    __slots__ = ("_begin", "_by_link", "_end", "_limit", "_method", "_most_s", "_routes")
    _course: type[Course] = Course

    def __init__(self, method: Method) -> None:
        self._method = method
        self._begin = method.view.begin
        self._end = method.routes.end
        self._by_link = method.by_link
        self._most_s = method.timeout_s
        self._limit = method.attempt_limit
        self._routes = method.routes

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Call, and return the response; raises grpc.RpcError as gRPC does."""
        began_at = _now()
        if self._most_s is not None:
            timeout = self._method.limit(timeout)
        node = self._begin(began_at) if self._routes.gate is None else None
        if node is None:
            args = (metadata, credentials, wait_for_ready, compression)
            return self._slowly(request, timeout, args, began_at, False)
        raw = self._by_link.get(node.link) or self._method.on(node)
        limit = self._limit
        most_s, limit_s = timeout, None
        if limit is not None:
            most_s, limit_s = self._method.bounded(timeout, began_at)
        try:
            response = raw(request, most_s, metadata, credentials, None, compression)
        except grpc.RpcError as error:
            args = (metadata, credentials, wait_for_ready, compression)
            deadline = None if timeout is None else began_at + timeout
            return self._attempts(request, deadline, args, node, (error, began_at, limit_s), False)
        except BaseException:
            self._end(node, 0.0, Outcome.CANCELLED, began_at)
            raise
        now = _now()
        self._end(node, now - began_at, _OK, now)
        if limit is not None:
            limit.observe(now - began_at)
        return response

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, grpc.Call]:
        """Call, and return (response, call)."""
        args = (metadata, credentials, wait_for_ready, compression)
        answer: tuple[Any, grpc.Call] = self._slowly(
            request, self._method.limit(timeout), args, _now(), True
        )
        return answer

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call, and return its future."""
        args = (metadata, credentials, wait_for_ready, compression)
        return RunningCall.begin(self._method, request, timeout, args, self._course)

    def _slowly(
        self, request: Any, timeout: float | None, args: tuple[Any, ...], began: float, call: bool
    ) -> Any:
        """Call with all that may be in the way: no table yet, no node, no room."""
        method, routes = self._method, self._routes
        view, waits = method.view, method.waits or args[2]
        deadline = None if timeout is None else began + timeout
        node = view.begin(began) if routes.gate is None else None
        ticket = None
        try:
            while node is None:
                if ticket is None and routes.gate is not None:
                    kind = class_of(args[0], method.priority)
                    ticket = wait_for_room(view, deadline, kind, waits)
                node = view.begin(_now())
                if node is None:
                    method.open()
                    node = wait_for_node(view, deadline, waits, freely=ticket is None)
            return self._attempts(request, deadline, args, node, None, call)
        finally:
            if ticket is not None:
                ticket.leave(_now())

    def _attempts(
        self,
        request: Any,
        deadline: float | None,
        args: tuple[Any, ...],
        node: Node,
        failed: tuple[Any, float, float | None] | None,
        call: bool,
    ) -> Any:
        method = self._method
        metadata, credentials, wait_for_ready, compression = args
        tries = None
        while True:
            if failed is None:
                began_at = _now()
                left_s = None if deadline is None else deadline - began_at
                limit_s = None
                if method.attempt_limit is not None:
                    attempts = 0 if tries is None else tries.attempts
                    left_s, limit_s = method.bounded(left_s, began_at, attempts)
                raw = method.on(node)
                attempt = raw.with_call if call else raw
                try:
                    response = attempt(request, left_s, metadata, credentials, None, compression)
                except grpc.RpcError as error:
                    failed = (error, began_at, limit_s)
                except BaseException:
                    self._end(node, 0.0, Outcome.CANCELLED, began_at)
                    raise
                else:
                    now = _now()
                    self._end(node, now - began_at, _OK, now)
                    if method.attempt_limit is not None:
                        method.attempt_limit.observe(now - began_at)
                    return response
            broken, began_at, limit_s = failed
            failed = None
            tries = tries or method.tries(wait_for_ready)
            status = (broken.code(), broken.details(), broken.trailing_metadata())
            now = _now()
            overdue = method.overdue(limit_s, status[0], now - began_at)
            again = tries.failed(node, began_at, now, status, overdue=overdue)
            if again is None:
                if tries.refused:
                    raise every_node_refuses(method.routes, broken.details()) from broken
                if tries.in_vain:
                    raise not_ready_in_time(method.routes, broken.details()) from broken
                raise broken
            if deadline is not None and _now() + again.delay_s >= deadline:
                if again.waits:
                    raise not_ready_in_time(method.routes, broken.details()) from broken
                raise broken
            if again.delay_s > 0:
                time.sleep(again.delay_s)
            found = method.view.begin(_now(), tries.tried) or wait_for_node(
                method.view, deadline, method.waits or wait_for_ready
            )
            assert found is not None
            node = found
