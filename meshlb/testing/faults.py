"""What can be made wrong with a fake node, and the interceptor that makes it so.

The faults are plain fields that a test sets from any thread; each call reads them when it comes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio

from meshlb.client.link import HEALTH_CHECK

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(slots=True)
class Faults:
    """Set a field, and the calls that come from then on show it. All off to begin with."""

    code: grpc.StatusCode | None = None
    """Answer every call with this status."""
    details: str = "a fault that the test has set"
    """Text of that status."""
    frozen: bool = False
    """Accept calls and leave them hanging, as a stopped process does."""
    break_after: int | None = None
    """End response streams with UNAVAILABLE after so many messages."""


class FaultInterceptor(grpc.aio.ServerInterceptor):
    """Serves each call after the service time, in one of the slots, unless a fault is set."""

    def __init__(self, faults: Faults, service_time_s: Callable[[], float], slots: int) -> None:
        self._faults = faults
        self._service_time_s = service_time_s
        self._slots = asyncio.Semaphore(slots)
        self.calls: list[str] = []
        """Full method names of the calls that came, in order; stubs' health checks left out."""

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Hold the call as long as the node is slow or frozen; then hand it on, or fail it."""
        if handler_call_details.method != HEALTH_CHECK:
            self.calls.append(handler_call_details.method)
        while self._faults.frozen:  # noqa: ASYNC110 - set from any thread, so an Event cannot be
            await asyncio.sleep(0.005)
        async with self._slots:
            wait_s = self._service_time_s()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
        handler = await continuation(handler_call_details)
        faults = self._faults
        if handler is None:
            return handler
        if faults.code is not None:
            return _failing(handler, faults.code, faults.details)
        if faults.break_after is not None and handler.response_streaming:
            return _breaking(handler, faults.break_after)
        return handler


def _failing(handler: Handler, code: grpc.StatusCode, details: str) -> Handler:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(code, details)

    make = getattr(grpc, f"{_arity(handler)}_rpc_method_handler")
    made: Handler = make(fail, handler.request_deserializer, handler.response_serializer)
    return made


def _breaking(handler: Handler, after: int) -> Handler:
    arity = _arity(handler)
    inner = getattr(handler, arity)
    broken = (grpc.StatusCode.UNAVAILABLE, f"Socket closed (a fault set after {after} messages)")

    async def stream(
        request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        if after <= 0:
            await context.abort(*broken)
        sent = 0
        async for message in inner(request, context):
            yield message
            sent += 1
            if sent >= after:
                await context.abort(*broken)

    def stream_in_thread(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if after <= 0:
            context.abort(*broken)
        for sent, message in enumerate(inner(request, context), start=1):
            yield message
            if sent >= after:
                context.abort(*broken)

    # A servicer written for threads keeps running in them.
    chosen = stream if inspect.isasyncgenfunction(inner) else stream_in_thread
    made: Handler = getattr(grpc, f"{arity}_rpc_method_handler")(
        chosen, handler.request_deserializer, handler.response_serializer
    )
    return made


def _arity(handler: Handler) -> str:
    came = "stream" if handler.request_streaming else "unary"
    went = "stream" if handler.response_streaming else "unary"
    return f"{came}_{went}"
