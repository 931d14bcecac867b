"""Server interceptors that count every call in a ``LoadRecorder``: for threads and for asyncio.

All four arities. A call ends when its handler is done: after the last message for streams, at an
error, or an abort. A client that cancels ends its call at once, with one exception: a handler in a
thread that gives one response cannot be stopped, so it holds its place until it returns. The ticket
of the call being served is ``current()``, in threads and tasks alike.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import grpc
import grpc.aio

from meshlb.orca.recorder import LoadRecorder, Ticket

FULL = "QUEUE_FULL: all slots are taken and the queue is full"
PUSHBACK = (("grpc-retry-pushback-ms", "100"),)
NO_WORK = ("/grpc.health.", "/grpc.reflection.", "/xds.service.orca.", "/meshlb.v1.SlotService/")

_current: contextvars.ContextVar[Ticket] = contextvars.ContextVar("meshlb_orca_ticket")
_now = time.monotonic
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def server_interceptor(recorder: LoadRecorder) -> grpc.ServerInterceptor:
    """Return the interceptor for ``grpc.server(..., interceptors=[...])``."""
    return _ServerInterceptor(recorder)


def aio_server_interceptor(recorder: LoadRecorder) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for ``grpc.aio.server(interceptors=[...])``."""
    return _AioServerInterceptor(recorder)


def current() -> Ticket | None:
    """Return the ticket of the call that this thread or task serves; None outside of one."""
    return _current.get(None)


class _ServerInterceptor(grpc.ServerInterceptor):
    def __init__(self, recorder: LoadRecorder) -> None:
        self._recorder = recorder

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler."""
        handler = continuation(handler_call_details)
        if handler is None or not _counted(handler_call_details.method):
            return handler
        recorder = self._recorder
        inner = _behaviour(handler)

        def serve_one(request: Any, context: grpc.ServicerContext) -> Any:
            ticket = _enter(recorder, context)
            ok = False
            try:
                answer = inner(request, context)
                ok = _answered_well(context)
                return answer
            finally:
                ticket.end(ok, _now())

        def serve_many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            # A stream that the client drops is not iterated further; its end is told by callback.
            ticket = _enter(recorder, context)
            if not context.add_callback(lambda: ticket.end(False, _now())):
                ticket.end(False, _now())
            ok = False
            try:
                for message in inner(request, context):
                    ticket.first_token(_now())
                    yield message
                ok = _answered_well(context)
            finally:
                ticket.end(ok, _now())

        return _rebuilt(handler, serve_many if handler.response_streaming else serve_one)


def _enter(recorder: LoadRecorder, context: grpc.ServicerContext) -> Ticket:
    """Count a call in, and wait for its slot; aborts the call if it cannot have one."""
    turn = threading.Event()
    ticket = recorder.begin(_now(), turn.set)
    if ticket is None:
        context.set_trailing_metadata(PUSHBACK)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)
        raise AssertionError("abort raises")
    _current.set(ticket)
    if not ticket.admitted:
        # The end of the RPC (cancelled, deadline) must wake a call that still waits.
        if not context.add_callback(turn.set):
            turn.set()
        turn.wait()
        if not ticket.admitted:
            ticket.end(False, _now())
            context.abort(grpc.StatusCode.CANCELLED, "the call ended while it waited for a slot")
    return ticket


def _answered_well(context: Any) -> bool:
    code = context.code() if hasattr(context, "code") else None
    return code in (None, 0, grpc.StatusCode.OK)


class _AioServerInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, recorder: LoadRecorder) -> None:
        self._recorder = recorder

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],  # type: ignore[override]
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        if handler is None or not _counted(handler_call_details.method):
            return handler
        recorder = self._recorder
        inner = _behaviour(handler)

        async def serve_one(request: Any, context: Any) -> Any:
            ticket = await _aio_enter(recorder, context)
            ok = False
            try:
                answer = await _called(inner, request, context)
                ok = _answered_well(context)
                return answer
            finally:
                ticket.end(ok, _now())

        async def serve_many(request: Any, context: Any) -> AsyncIterator[Any]:
            ticket = await _aio_enter(recorder, context)
            ok = False
            try:
                async for message in inner(request, context):
                    ticket.first_token(_now())
                    yield message
                ok = _answered_well(context)
            finally:
                ticket.end(ok, _now())

        async def serve_written(request: Any, context: Any) -> None:
            # A handler that writes to its context instead of yielding.
            ticket = await _aio_enter(recorder, context)
            ok = False
            try:
                await inner(request, context)
                ok = _answered_well(context)
            finally:
                ticket.end(ok, _now())

        if inspect.isgeneratorfunction(inner):
            return handler  # a thread's generator in an asyncio server: gRPC runs it elsewhere
        if not handler.response_streaming:
            return _rebuilt(handler, serve_one)
        written = inspect.iscoroutinefunction(inner)
        return _rebuilt(handler, serve_written if written else serve_many)


async def _aio_enter(recorder: LoadRecorder, context: Any) -> Ticket:
    loop = asyncio.get_running_loop()
    turn = asyncio.Event()

    def admit() -> None:
        loop.call_soon_threadsafe(turn.set)

    ticket = recorder.begin(_now(), admit)
    if ticket is None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL, PUSHBACK)
        raise AssertionError("abort raises")
    _current.set(ticket)
    if not ticket.admitted:
        try:
            await turn.wait()
        except asyncio.CancelledError:
            ticket.end(False, _now())
            raise
    return ticket


async def _called(inner: Any, request: Any, context: Any) -> Any:
    if inspect.iscoroutinefunction(inner):
        return await inner(request, context)
    run = contextvars.copy_context().run
    answer = await asyncio.get_running_loop().run_in_executor(None, run, inner, request, context)
    return await answer if inspect.isawaitable(answer) else answer


def _counted(method: str) -> bool:
    """Leave out what is no work: health checks, reflection, ORCA's own stream, orders of slots.

    An order must not wait for one of the slots that it brings.
    """
    return not method.startswith(NO_WORK)


def _behaviour(handler: Handler) -> Any:
    return getattr(handler, _arity(handler))


def _rebuilt(handler: Handler, behaviour: Any) -> Handler:
    make = getattr(grpc, f"{_arity(handler)}_rpc_method_handler")
    made: Handler = make(behaviour, handler.request_deserializer, handler.response_serializer)
    return made


def _arity(handler: Handler) -> str:
    came = "stream" if handler.request_streaming else "unary"
    went = "stream" if handler.response_streaming else "unary"
    return f"{came}_{went}"
