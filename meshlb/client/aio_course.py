"""The course of one asyncio call over its attempts; what its caller holds is in ``aio_calls``.

Attempts are begun synchronously and ended by gRPC's done callback, so a call that succeeds at once
needs no task of ours. Where somebody awaits the one response there is no callback, only a look
while the node is at work: they note the end, need not ask for the status, and leave no cycle to
collect. An attempt ends exactly once. gRPC's callbacks hold the course, never what the caller
holds, so a dropped call is seen to be dropped. Long because all of it moves one state.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_replay import AioReplay
from meshlb.client.aio_waiting import AioWaitingRoom, raised
from meshlb.client.method import Method
from meshlb.client.retry import Again
from meshlb.client.routes import Node, Outcome
from meshlb.client.tries import Tries
from meshlb.client.waiting import NoNodeError, every_node_refuses, not_ready_in_time

_now = time.perf_counter
_OK, _SUCCEEDED = grpc.StatusCode.OK, Outcome.OK
CANCELLED_HERE = "Locally cancelled by application!"
"""gRPC's own words; a server's CANCELLED differs in nothing else."""


UNMASKED_AFTER_S = (0.0, 0.0, 0.001, 0.004, 0.016, 0.064, 0.25, 0.5, 1.0)
"""How long to wait for a broken stream's status; it is mostly there at the second look."""
LOOK_AGAIN_S = 0.05


class AioMethod(Method):
    """A method whose calls belong to one event loop."""

    __slots__ = ("begin", "end", "loop", "waiting")

    begin: Callable[..., Node | None]
    """The view's."""
    end: Callable[[Node, float, Outcome, float], None]
    """The routes'."""
    loop: asyncio.AbstractEventLoop
    waiting: AioWaitingRoom


def now_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing left to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("an ended call had something to wait for")


async def _send(inner: Any, requests: AsyncGenerator[Any]) -> None:
    """Write the requests to an attempt, whose end tells all that may go wrong.

    An iterator given to gRPC would have the call cancelled if its end meets the last request.
    """
    over = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)
    try:
        async with contextlib.aclosing(requests):
            async for request in requests:
                try:
                    await inner.write(request)
                except over:
                    return
        with contextlib.suppress(*over):
            await inner.done_writing()
    except asyncio.CancelledError:
        raise
    except BaseException:  # the caller's requests raised, or cannot be turned into bytes
        inner.cancel()


def _masked(inner: Any) -> bool:
    """Return whether gRPC has put its own failure to write in the place of the true status.

    It does so where a stream of requests meets the end of the call; the true status follows, once
    all responses have been read.
    """
    return (
        now_of(inner.code()) is grpc.StatusCode.INTERNAL
        and now_of(inner.details()) == "Internal error from Core"
        and str(now_of(inner.debug_error_string())).startswith('Failed "execute_batch"')
    )


class StatusError(NoNodeError):
    """The status of a stream of requests as it was at its end: gRPC may put another there later."""

    def __init__(self, code: grpc.StatusCode, inner: Any) -> None:
        super().__init__(code, now_of(inner.details()))
        self._debug = now_of(inner.debug_error_string())
        self._metadata = tuple(
            tuple(now_of(found) or ())
            for found in (inner.initial_metadata(), inner.trailing_metadata())
        )

    def debug_error_string(self) -> str:
        """Return gRPC's own words."""
        return str(self._debug)

    def initial_metadata(self) -> tuple[Any, ...]:
        """Return the node's."""
        return self._metadata[0]

    def trailing_metadata(self) -> tuple[Any, ...]:
        """Return the node's."""
        return self._metadata[1]


class AioCourse:
    """State of one call; for one event loop."""

    __slots__ = (
        "_args", "_attempt", "_callbacks", "_changed", "_delivered", "_received", "_request",
        "_responses", "_sending", "_task", "_tries", "_unmasking", "awaited", "cancelled",
        "complete", "deadline", "ended", "failure", "inner", "method", "replay",
    )  # fmt: skip

    def __init__(
        self,
        method: AioMethod,
        request: Any,
        timeout: float | None,
        args: tuple[Any, Any, Any, Any],
        replay: AioReplay | None = None,
    ) -> None:
        """``args`` are metadata, credentials, wait_for_ready, compression."""
        self.method = method
        self.replay = replay
        self.inner: Any = None
        """gRPC's call of the attempt that runs, or of the last one; None: none runs."""
        self.ended = False
        self.cancelled = False
        """The caller cancelled it before it ended."""
        self.awaited = False
        """Somebody awaits ``inner``, and will note its end: a response means OK, unasked."""
        self.complete = False
        """It reads as OK, whatever gRPC says: it broke, but its resume hook said that nothing was
        missing; or it was OK, and gRPC may still put its own failure to write over that."""
        self.failure: NoNodeError | None = None
        """What it ended with, if that is not ``inner`` itself."""
        self._request = None if replay is not None else request
        self._args = args
        self._attempt: tuple[Node, float] | None = None
        """Node and time of begin, of the attempt that runs."""
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._changed: asyncio.Event | None = None
        self._delivered = False
        self._received: list[Any] | None = None
        self._responses: tuple[Any, AsyncIterator[Any]] | None = None
        """gRPC's call and its responses, where a stream of requests may mask its status."""
        self._sending: asyncio.Task[None] | None = None
        """Gives the requests of a stream to the attempt that runs."""
        self._unmasking: Any = None
        """gRPC's call whose true status is not there yet."""
        self._task: asyncio.Task[None] | None = None
        self._tries: Tries | None = None
        now = _now()
        if method.timeout_s is not None:
            timeout = method.limit(timeout)
        self.deadline = None if timeout is None else now + timeout
        begun = method.begin(now)
        if begun is None:
            method.open()
            self._begin_later(0.0)
        else:
            self._begin(begun, now)
        if not self.ended:  # gRPC may know at once
            method.calls.add(self)

    # --- attempts --------------------------------------------------------------------------

    def _begin(self, node: Node, now: float) -> None:
        method, replay, deadline = self.method, self.replay, self.deadline
        metadata, credentials, _, compression = self._args
        try:
            raw = method.by_link.get(node.link) or method.on(node)
            inner = raw(
                self._request,
                timeout=None if deadline is None else deadline - now,
                metadata=metadata,
                credentials=credentials,
                compression=compression,
            )
        except BaseException:
            method.end(node, 0.0, Outcome.CANCELLED, now)
            raise
        self._attempt = (node, now)
        self.inner = inner
        if method.arity == "unary_unary":
            method.loop.call_soon(self._watch, inner)
        else:
            inner.add_done_callback(self.attempt_done)
        if replay is not None:
            self._sending = method.loop.create_task(_send(inner, replay.reader()))
        if self._changed is not None:
            self._wake()

    def _begin_later(self, delay_s: float) -> None:
        self._task = self.method.loop.create_task(self._wait_and_begin(delay_s))

    async def _wait_and_begin(self, delay_s: float) -> None:
        method, tries = self.method, self._tries
        tried = () if tries is None else tries.tried
        waits = method.waits if self._args[2] is None else bool(self._args[2])
        try:
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            begun = method.begin(_now(), tried) or await method.waiting.wait_for_node(
                method.view, self.deadline, waits, tried
            )
            self._begin(begun, _now())
        except NoNodeError as failure:
            self._end(failure)
        except Exception as error:  # nobody to raise it to
            self._end(_ended_by(error))

    def _watch(self, inner: Any) -> None:
        """Have gRPC tell when an attempt ends, unless somebody awaits it by now."""
        if not self.awaited:
            inner.add_done_callback(self.attempt_done)

    def catch_up(self) -> None:
        """Take note of an end that was left to somebody who has not been woken yet."""
        if self.awaited and self.inner.done():
            self.attempt_done(self.inner)

    def awaiter_left(self, inner: Any) -> None:
        """Go on without whoever awaited ``inner``."""
        if self.inner is inner:
            self.awaited = False
            inner.add_done_callback(self.attempt_done)  # which is at once if it has ended

    def awaiter_dropped(self, inner: Any) -> None:
        """Go on without whoever awaited ``inner``; from any thread, as a collection may be."""
        try:
            self.method.loop.call_soon_threadsafe(self.awaiter_left, inner)
        except RuntimeError:  # the loop has ended
            self.abandon()

    def attempt_done(self, inner: Any) -> bool:
        """Take note that an attempt ended; return whether the call goes on with another.

        Called by gRPC when it knows, and by readers when they see it; the first one decides.
        """
        if self.inner is not inner:
            return True
        attempt = self._attempt
        if attempt is None:
            return not self.ended
        code = now_of(inner.code())
        if code is not _OK:
            if self.replay is not None and _masked(inner):
                if self._unmasking is not inner:
                    self._unmasking = inner
                    self._task = self.method.loop.create_task(self._unmask(inner, attempt))
                return True
            return self._after_failure(inner, attempt, code)
        self.complete = self.replay is not None
        self.answered()
        return False

    def answered(self) -> None:
        """Take note that the attempt that runs, if any, ended well."""
        attempt = self._attempt
        if attempt is not None:
            self._attempt = None
            now = _now()
            self.method.end(attempt[0], now - attempt[1], _SUCCEEDED, now)
            self._end()

    async def _unmask(self, inner: Any, attempt: tuple[Node, float]) -> None:
        """Wait for the true status of an attempt that gRPC could not write to any more."""
        for delay_s in UNMASKED_AFTER_S:
            await asyncio.sleep(delay_s)
            if not _masked(inner):
                break
        else:
            # Responses that nobody has read yet hold it back: who still writes is told to stop.
            if self.replay is not None:
                self.replay.stop()
                self._wake()
            while _masked(inner):  # noqa: ASYNC110 - gRPC tells nobody when it changes
                await asyncio.sleep(LOOK_AGAIN_S)
        self._unmasking = None
        if self._attempt is not attempt:
            return
        if now_of(inner.code()) is _OK:
            self.attempt_done(inner)
        else:
            self._after_failure(inner, attempt, now_of(inner.code()))
        self._wake()

    def _after_failure(
        self, inner: Any, attempt: tuple[Node, float], code: grpc.StatusCode
    ) -> bool:
        self._attempt = None
        self.awaited = False
        now = _now()
        details = now_of(inner.details())
        here = code is grpc.StatusCode.CANCELLED and details == CANCELLED_HERE
        if self.cancelled or here:
            # By the caller, by closing the channel, or because its requests raised.
            self.cancelled = True
            node, began_at = attempt
            self.method.end(node, now - began_at, Outcome.CANCELLED, now)
            self._end()
            return False
        tries = self._tries = self._tries or self.method.tries(self._args[2])
        again = tries.failed(
            *attempt,
            now,
            (code, details, tuple(now_of(inner.trailing_metadata()) or ())),
            delivered=self._delivered,
            # What a stream of requests has said cannot be said otherwise.
            resume=self._resume if self.method.resume and self.replay is None else None,
        )
        if self.replay is not None and not self.replay.replayable:
            again = None
        if again is None or (self.deadline is not None and now + again.delay_s >= self.deadline):
            self.complete = tries.complete
            self._end(self._final(tries, again, inner, code))
            return False
        self.inner = None
        if again.delay_s > 0:
            self._begin_later(again.delay_s)
            return True
        try:
            begun = self.method.begin(now, tries.tried)
            if begun is None:
                self._begin_later(0.0)
            else:
                self._begin(begun, now)
        except Exception as error:  # nobody to raise it to
            self._end(_ended_by(error))
        return True

    def _final(
        self, tries: Tries, again: Again | None, inner: Any, code: grpc.StatusCode
    ) -> NoNodeError | None:
        """Return what the call ended with, if that is not gRPC's own call."""
        details = now_of(inner.details())
        if tries.in_vain or (again is not None and again.waits):
            return not_ready_in_time(self.method.routes, details)
        if tries.refused:
            return every_node_refuses(self.method.routes, details)
        if self.replay is not None and not tries.complete:
            return StatusError(code, inner)
        return None

    def _resume(self) -> bool:
        """Let the caller's hook build the next request; whether it did."""
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
            if self._received is None:
                self._received = []
            self._received.append(message)
        if self._tries is not None:
            self._tries.progressed()
        if self.replay is not None:
            self.replay.commit()

    # --- the end ---------------------------------------------------------------------------

    def _end(self, failure: NoNodeError | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        self.failure = failure
        self.method.calls.discard(self)
        if self.replay is not None:
            self.replay.stop()
        if self._changed is not None:
            self._wake()
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, ()
            for callback in callbacks:
                try:
                    callback()
                except Exception as error:
                    self.method.loop.call_exception_handler(
                        {"message": "a call's done callback failed", "exception": error}
                    )

    def cancel(self) -> bool:
        """End the call as its caller wishes; whether there was something to end."""
        self.catch_up()
        if self.ended:
            return False
        self.cancelled = True
        if self._task is not None:
            self._task.cancel()
        if self.inner is not None:
            self.inner.cancel()
        self.abandon()
        return True

    def broke(self, error: Exception) -> None:
        """End the call because gRPC could not begin it, such as for wrong metadata."""
        self.abandon(_ended_by(error))

    def abandon(self, failure: NoNodeError | None = None) -> None:
        """Count the call out, whatever gRPC makes of it. All that an ended loop leaves to do."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            node, began_at = attempt
            now = _now()
            self.method.end(node, now - began_at, Outcome.CANCELLED, now)
        self._end(failure)

    # --- for whoever holds the call --------------------------------------------------------

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back at the end, or now."""
        if self.ended:
            callback()
        else:
            self._callbacks = (*self._callbacks, callback)

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    async def current(self) -> Any:
        """Wait until an attempt runs; return gRPC's call of it, or raise how the call ended."""
        while self.inner is None and not self.ended:
            await self._change()
        if self.failure is not None:
            raise raised(self.failure)
        if self.inner is None:
            raise asyncio.CancelledError
        return self.inner

    async def decided(self, inner: Any, *, drained: bool = True) -> None:
        """Wait until the true status of an attempt is known; at once where gRPC told that.

        Not ``drained``: responses that are still to be read may hold it back; wait a little only.
        """
        replay = self.replay
        while self._unmasking is inner and not self.ended:
            if not drained and (replay is None or replay.stopped):
                return
            await self._change()

    async def next_of(self, inner: Any) -> Any:
        """Return the next response of an attempt with a stream of requests, or grpc.aio.EOF.

        ``inner.read`` would end where gRPC masks the status, though responses are still there.
        """
        if self.ended:
            return await inner.read()
        if self._responses is None or self._responses[0] is not inner:
            self._responses = inner, aiter(inner)
        return await anext(self._responses[1], grpc.aio.EOF)

    async def settled(self) -> Any:
        """Wait for the end; return gRPC's last call, None if ``failure`` or a cancel came first."""
        while not self.ended:
            await self._change()
        return None if self.failure is not None else self.inner


def _ended_by(error: Exception) -> NoNodeError:
    """Return what a call ends with that could not begin; ValueError: its channel was closed."""
    if isinstance(error, ValueError):
        return NoNodeError(grpc.StatusCode.CANCELLED, str(error))
    return NoNodeError(grpc.StatusCode.INTERNAL, str(error))
