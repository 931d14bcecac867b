"""The course of one asyncio call over its attempts; what its caller holds is in ``aio_calls``.

Attempts are begun synchronously and ended by gRPC's done callback, so a call that succeeds at once
needs no task of ours. An attempt ends exactly once. gRPC's callbacks hold the course, never what
the caller holds, so a dropped call is seen to be dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_replay import AioReplay
from meshlb.client.method import Method
from meshlb.client.routes import Node, Outcome, Routes, View
from meshlb.client.tries import Tries
from meshlb.client.waiting import refused, too_late

_now = time.perf_counter
_OK = grpc.StatusCode.OK


def no_node_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """Return the error of a call that ended before it had a node."""
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, empty, details, details)


async def wait_for_node(
    view: View, deadline: float | None, wait_for_ready: bool | None
) -> tuple[Node, float]:
    """Wait until there is a node, and begin on it; AioRpcError if that cannot be."""
    routes: Routes = view.routes
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    stop = routes.listen(wake)
    with routes.lock:
        routes.waiting += 1
    try:
        while True:
            changed.clear()
            now = _now()
            begun = view.begin(now)
            if begun is not None:
                return begun
            error = refused(routes, wait_for_ready)
            if error is None and deadline is not None and now >= deadline:
                error = too_late(routes)
            if error is not None:
                raise no_node_error(error.code(), error.details())
            left_s = None if deadline is None else deadline - now
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                continue
    finally:
        stop()
        with routes.lock:
            routes.waiting -= 1


def _ready(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing left to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("an ended call had something to wait for")


class AioCourse:
    """State of one call; for one event loop."""

    __slots__ = (
        "_args", "_attempt", "_cancelled", "_delivered", "_received", "_request", "_task", "_tries",
        "callbacks", "changed", "deadline", "ended", "error", "inner", "loop", "method", "replay",
    )  # fmt: skip

    def __init__(
        self,
        method: Method,
        request: Any,
        timeout: float | None,
        args: tuple[Any, Any, Any, Any],
        replay: AioReplay | None = None,
    ) -> None:
        """``args`` are metadata, credentials, wait_for_ready, compression."""
        self.method = method
        self.replay = replay
        self.loop = asyncio.get_running_loop()
        timeout = method.limit(timeout)
        self.deadline = None if timeout is None else _now() + timeout
        self.changed: asyncio.Event | None = None
        self.inner: Any = None
        self.ended = False
        self.error: grpc.aio.AioRpcError | None = None
        self.callbacks: list[Callable[[], None]] = []
        self._request = request
        self._args = args
        self._attempt: tuple[Node, float, float] | None = None
        self._tries: Tries | None = None
        self._received: list[Any] | None = None
        self._delivered = False
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None
        method.calls.add(self)
        self.start()

    def start(self) -> None:
        """Begin an attempt now if there is a node, else once there is one."""
        tries = self._tries
        begun = self.method.view.begin(_now(), tries.tried if tries is not None else ())
        if begun is not None:
            self._begin(begun)
        else:
            self.method.open()
            self._task = self.loop.create_task(self._start_later(0.0))

    async def _start_later(self, delay_s: float) -> None:
        try:
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            tries, begun = self._tries, None
            if tries is not None:
                begun = self.method.view.begin(_now(), tries.tried)
            wait_for_ready = self._args[2]
            self._begin(
                begun or await wait_for_node(self.method.view, self.deadline, wait_for_ready)
            )
        except grpc.aio.AioRpcError as error:
            self._end(error)
        except ValueError as error:  # the channel was closed
            self._end(no_node_error(grpc.StatusCode.CANCELLED, str(error)))

    def _begin(self, begun: tuple[Node, float]) -> None:
        node, found = begun
        began_at = _now()
        metadata, credentials, _, compression = self._args
        left_s = None if self.deadline is None else self.deadline - began_at
        request = self._request if self.replay is None else self.replay.reader()
        raw = self.method.by_link.get(node.link) or self.method.on(node)
        try:
            inner = raw(
                request,
                timeout=left_s,
                metadata=metadata,
                credentials=credentials,
                wait_for_ready=False,
                compression=compression,
            )
        except BaseException:
            self.method.routes.end(node, found, 0.0, Outcome.CANCELLED, began_at)
            raise
        self._attempt = (node, found, began_at)
        self.inner = inner
        inner.add_done_callback(self.attempt_done)
        if self.changed is not None:
            self._wake()

    def attempt_done(self, inner: Any) -> bool:
        """Take note that an attempt ended; return whether the call goes on with another."""
        if self.inner is not inner:
            return True
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return not self.ended
        node, found, began_at = attempt
        now = _now()
        code = _ready(inner.code())
        if code is _OK:
            self.method.routes.end(node, found, now - began_at, Outcome.OK, now)
            self._end(None)
            return False
        if self._cancelled or inner.cancelled():
            self._cancelled = True
            self.method.routes.end(node, found, now - began_at, Outcome.CANCELLED, now)
            self._end(None)
            return False
        return self._after_failure(inner, (node, found, began_at), code, now)

    def _after_failure(
        self, inner: Any, attempt: tuple[Node, float, float], code: grpc.StatusCode, now: float
    ) -> bool:
        trailing = tuple(_ready(inner.trailing_metadata()) or ())
        self._tries = self._tries or self.method.tries(self._args[2])
        again = self._tries.failed(
            *attempt,
            now,
            (code, _ready(inner.details()), trailing),
            delivered=self._delivered,
            resume=self._resume if self.method.resume is not None else None,
        )
        if self.replay is not None and not self.replay.replayable:
            again = None
        if again is None or (self.deadline is not None and now + again.delay_s >= self.deadline):
            self._end(None)
            return False
        self.inner = None
        if again.delay_s > 0:
            self._task = self.loop.create_task(self._start_later(again.delay_s))
        else:
            try:
                self.start()
            except ValueError as error:  # the channel was closed
                self._end(no_node_error(grpc.StatusCode.CANCELLED, str(error)))
        return True

    def _resume(self) -> bool:
        hook = self.method.resume
        assert hook is not None
        request = hook(self._request, tuple(self._received or ()))
        if request is None:
            return False
        self._request, self._received = request, None
        return True

    def took(self, message: Any) -> None:
        """Note that a message has reached the caller."""
        self._delivered = True
        if self.method.resume is not None:
            self._received = self._received or []
            self._received.append(message)
        if self._tries is not None:
            self._tries.progressed()
        if self.replay is not None:
            self.replay.commit()

    def _end(self, error: grpc.aio.AioRpcError | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        self.method.calls.discard(self)
        if self.replay is not None:
            self.replay.stop()
        callbacks, self.callbacks = self.callbacks, []
        if self.changed is not None:
            self._wake()
        for callback in callbacks:
            callback()

    def _wake(self) -> None:
        changed, self.changed = self.changed, None
        if changed is not None:
            changed.set()

    async def _change(self) -> None:
        self.changed = self.changed or asyncio.Event()
        await self.changed.wait()

    async def current(self) -> Any:
        """Wait until an attempt runs; return gRPC's call of it, or raise how the call ended."""
        while self.inner is None and not self.ended:
            await self._change()
        if self.error is not None:
            raise self.error
        if self.inner is None:
            raise asyncio.CancelledError
        return self.inner

    async def settled(self) -> Any:
        """Wait for the end; return gRPC's last call, None if ``error`` or a cancel came first."""
        while not self.ended:
            await self._change()
        return None if self.error is not None else self.inner

    def cancel(self) -> bool:
        """End the call as its caller wishes; whether there was something to end."""
        if self.ended:
            return False
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()
        inner = self.inner
        if inner is None:
            self._end(None)
        else:
            inner.cancel()
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                node, found, began_at = attempt
                now = _now()
                self.method.routes.end(node, found, now - began_at, Outcome.CANCELLED, now)
            self._end(None)
        return True

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled it before it ended."""
        return self._cancelled
