"""Where asyncio calls wait until there is a node."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from meshlb.client.node import Node
from meshlb.client.routes import Routes
from meshlb.client.view import View
from meshlb.client.waiting import NoNodeError, refused, too_late

_now = time.perf_counter


class AioWaitingRoom:
    """Wakes the waiting calls of one channel in its loop: one wake-up for all, however many."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._stop_listening: Callable[[], None] | None = None
        self._waking = False

    def enter(self) -> asyncio.Future[None]:
        """Return a future of the next change; ``leave`` with it."""
        if self._stop_listening is None:
            self._stop_listening = self._routes.listen(self._changed)
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(future)
        return future

    def leave(self, future: asyncio.Future[None]) -> None:
        """Forget a future."""
        self._waiters.discard(future)
        if not self._waiters and self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    def _changed(self) -> None:
        # From any thread. Waiters look after ``_wake`` has begun, so one on its way is enough.
        if not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    async def wait_for_node(
        self,
        view: View,
        deadline: float | None,
        wait_for_ready: bool,
        tried: Sequence[Node],
        *,
        freely: bool,
    ) -> Node | None:
        """Wait until there is a node, and begin on it; raise NoNodeError if that cannot be.

        ``freely``: the call has no ticket, so None is returned once calls are limited.
        While it waits the call counts as waiting, which is demand that the controller sees.
        """
        routes = self._routes
        with routes.lock:
            routes.waiting += 1
        try:
            while True:
                changed = self.enter()  # before the look, so that no change is missed
                try:
                    now = _now()
                    if freely and routes.gate is not None:
                        return None
                    begun = view.begin(now, tried)
                    if begun is not None:
                        return begun
                    error = refused(routes, wait_for_ready)
                    if error is None and deadline is not None and now >= deadline:
                        error = too_late(routes)
                    if error is not None:
                        raise error
                    left_s = None if deadline is None else deadline - now
                    await asyncio.wait((changed,), timeout=left_s)
                finally:
                    self.leave(changed)
        finally:
            with routes.lock:
                routes.waiting -= 1


def raised(failure: NoNodeError) -> grpc.aio.AioRpcError:
    """Return what grpc.aio raises for a call that ended so."""
    return grpc.aio.AioRpcError(
        failure.code(),
        metadata(failure.initial_metadata()),
        metadata(failure.trailing_metadata()),
        failure.details(),
        failure.debug_error_string(),
    )


def ended_by(error: Exception) -> NoNodeError:
    """Return what a call ends with that could not begin; ValueError: its channel was closed."""
    if isinstance(error, ValueError):
        return NoNodeError(grpc.StatusCode.CANCELLED, str(error))
    return NoNodeError(grpc.StatusCode.INTERNAL, str(error))


def metadata(pairs: tuple[Any, ...]) -> Any:
    """Return pairs as grpc.aio does."""
    return grpc.aio.Metadata.from_tuple(pairs)


def task_is_cancelled() -> bool:
    """Return whether somebody cancels the task that runs, rather than gRPC's call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
