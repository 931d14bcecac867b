"""The course of one asyncio call over its attempts; what its caller holds is in ``aio_calls``.

Attempts are begun synchronously and ended by gRPC's done callback, so a call that succeeds at once
needs no task of ours. Where somebody awaits the one response there is no callback, only a look
while the node is at work: they note the end, need not ask for the status, and leave no cycle to
collect. An attempt ends exactly once. gRPC's callbacks hold the course, never what the caller
holds, so a dropped call is seen to be dropped. Long because all of it moves one state.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_replay import AioReplay
from meshlb.client.aio_waiting import AioWaitingRoom, ended_by, raised
from meshlb.client.gate import Ticket, class_of
from meshlb.client.method import Method
from meshlb.client.node import Node, Outcome
from meshlb.client.patience import Patience, unanswered
from meshlb.client.retry import Again
from meshlb.client.tries import Tries, request_for_rest
from meshlb.client.waiting import (
    NoNodeError,
    every_node_refuses,
    no_room,
    not_ready_in_time,
    waited_for_room,
)

_now = time.perf_counter
_OK, _SUCCEEDED = grpc.StatusCode.OK, Outcome.OK
CANCELLED_HERE = "Locally cancelled by application!"
"""gRPC's own words; a server's CANCELLED differs in nothing else."""
Arguments = tuple[Any, Any, Any, Any]
"""Metadata, credentials, wait_for_ready, compression."""


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


class AioCourse:
    """State of one call; for one event loop."""

    __slots__ = (
        "_args", "_attempt", "_callbacks", "_changed", "_delivered", "_limit_s", "_received",
        "_request", "_task", "_ticket", "_tries", "awaited", "cancelled", "complete", "deadline",
        "ended", "failure", "given_up", "inner", "method", "patience",
    )  # fmt: skip
    replay: AioReplay | None = None
    """The requests, of a call with a stream of them."""

    def __init__(
        self, method: AioMethod, request: Any, timeout: float | None, args: Arguments
    ) -> None:
        self.method = method
        self.inner: Any = None
        """gRPC's call of the attempt that runs, or of the last one; None: none runs."""
        self.ended = False
        self.cancelled = False
        """The caller cancelled it before it ended."""
        self.awaited = False
        """Somebody awaits ``inner``, and will note its end: a response means OK, unasked."""
        self.complete = False
        """It reads as OK, whatever gRPC says: it broke, but its resume hook said that nothing was
        missing."""
        self.failure: NoNodeError | None = None
        """What it ended with, if that is not ``inner`` itself."""
        self._request = request
        self._args = args
        self._attempt: tuple[Node, float] | None = None
        """Node and time of begin, of the attempt that runs."""
        self._ticket: Ticket | None = None
        """Its right to run, where calls are limited."""
        self._limit_s: float | None = None
        """gRPC ends the attempt that runs before the deadline of the call."""
        self.given_up: Any = None
        """gRPC's call of the last attempt that was ended since its message came too late."""
        self.patience: Patience | None = None
        """Of an attempt whose messages may not let wait for too long."""
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._changed: asyncio.Event | None = None
        self._delivered = False
        self._received: list[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._tries: Tries | None = None
        now = _now()
        if method.timeout_s is not None:
            timeout = method.limit(timeout)
        self.deadline = None if timeout is None else now + timeout
        begun = method.begin(now) if method.view.routes.gate is None else None
        if begun is None:
            method.open()
            self._begin_later(0.0)
        else:
            self._begin(begun, now)
        if not self.ended:  # gRPC may know at once
            method.calls.add(self)

    # --- attempts --------------------------------------------------------------------------

    def _begin(self, node: Node, now: float) -> Any:
        method, deadline = self.method, self.deadline
        metadata, credentials, _, compression = self._args
        left_s = None if deadline is None else deadline - now
        if method.attempt_limit is not None:
            attempts = 0 if self._tries is None else self._tries.attempts
            if method.arity == "unary_unary":
                left_s, self._limit_s = method.bounded(left_s, now, attempts)
            else:
                self.patience = Patience(method.attempt_s(now, attempts, left_s))
        elif method.idle_s is not None:
            self.patience = Patience(None)
        try:
            raw = method.by_link.get(node.link) or method.on(node)
            inner = raw(
                self._request,
                timeout=left_s,
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
        if self._changed is not None:
            self._wake()
        return inner

    def _begin_later(self, delay_s: float) -> None:
        self._task = self.method.loop.create_task(self._wait_and_begin(delay_s))

    async def _wait_and_begin(self, delay_s: float) -> None:
        method, tries = self.method, self._tries
        tried = () if tries is None else tries.tried
        waits = method.waits if self._args[2] is None else bool(self._args[2])
        try:
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            begun = None
            while begun is None:
                if self._ticket is None:
                    await self._come_in()
                begun = method.begin(_now(), tried) or await method.waiting.wait_for_node(
                    method.view, self.deadline, waits, tried, freely=self._ticket is None
                )
            self._begin(begun, _now())
        except NoNodeError as failure:
            self._end(failure)
        except Exception as error:  # nobody to raise it to
            self._end(ended_by(error))

    async def _come_in(self) -> None:
        """Wait until the call may run, if calls are limited; raise NoNodeError if it may not."""
        method = self.method
        gate = method.view.routes.gate
        if gate is None:
            return
        kind = class_of(self._args[0], method.priority)
        told = asyncio.Event()
        self._ticket = ticket = gate.enter(
            kind, self.deadline, _now(), functools.partial(_wake, method.loop, told)
        )
        if ticket.waits:
            left_s = None if self.deadline is None else self.deadline - _now()
            try:
                await asyncio.wait_for(told.wait(), left_s)
            except TimeoutError:
                if not ticket.inside:
                    raise waited_for_room(method.routes) from None
        if ticket.refusal is not None:
            raise no_room(ticket.refusal)

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
            return self._failed(inner, attempt, code)
        self.answered()
        return False

    def answered(self) -> None:
        """Take note that the attempt that runs, if any, ended well."""
        attempt = self._attempt
        if attempt is not None:
            self._attempt = None
            now = _now()
            method = self.method
            method.end(attempt[0], now - attempt[1], _SUCCEEDED, now)
            if self._delivered:
                attempt[0].load.answer_s = 0.0  # its first message was its answer
            if self.patience is not None:
                self.patience.call_off()
            elif method.attempt_limit is not None:
                method.attempt_limit.observe(now - attempt[1])
            self._end()

    def _failed(self, inner: Any, attempt: tuple[Node, float], code: grpc.StatusCode) -> bool:
        self._attempt = None
        self.awaited = False
        now = _now()
        details = now_of(inner.details())
        here = code is grpc.StatusCode.CANCELLED and details == CANCELLED_HERE
        patience = self.patience
        if patience is not None:
            patience.call_off()
            here = here and not patience.over
        if self.cancelled or here:
            # By the caller, by closing the channel, or because its requests raised.
            self.cancelled = True
            node, began_at = attempt
            self.method.end(node, now - began_at, Outcome.CANCELLED, now)
            self._end()
            return False
        tries = self._tries = self._tries or self.method.tries(self._args[2])
        overdue = self.method.overdue(self._limit_s, code, now - attempt[1])
        again = tries.failed(
            *attempt,
            now,
            (code, details, tuple(now_of(inner.trailing_metadata()) or ())),
            delivered=self._delivered,
            # What a stream of requests has said cannot be said otherwise.
            resume=self._resume if self.method.resume and self.replay is None else None,
            overdue=overdue if patience is None else patience.over,
        )
        if not self._can_repeat():
            again = None
        if (again is not None or not tries.final) and self._go_on_beside():
            return True
        if again is None or (self.deadline is not None and now + again.delay_s >= self.deadline):
            self.complete = tries.complete
            self._end(self._final(tries, again, inner))
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
            self._end(ended_by(error))
        return True

    def _final(self, tries: Tries, again: Again | None, inner: Any) -> NoNodeError | None:
        """Return what the call ended with, if that is not gRPC's own call."""
        details = now_of(inner.details())
        if tries.in_vain or (again is not None and again.waits):
            return not_ready_in_time(self.method.routes, details)
        if tries.refused:
            return every_node_refuses(self.method.routes, details)
        if self.patience is not None and self.patience.over and not tries.complete:
            return unanswered(tries.tried[-1], late=again is not None)
        return None

    def _go_on_beside(self) -> bool:
        """Go on with another attempt that runs already; return whether there is one."""
        return False

    def _can_repeat(self) -> bool:
        """Return whether another attempt could say all that the first one said."""
        return True

    def _resume(self) -> bool:
        """Let the caller's hook build the next request; whether there is one."""
        hook = self.method.resume
        assert hook is not None
        request = request_for_rest(hook, self._request, self._received or ())
        if request is None:
            return False
        self._request, self._received = request, None
        return True

    def wait_patiently(self, patience: Patience) -> None:
        """See to it that the attempt ends if the message that is read now does not come in time."""
        patience.since = _now()
        limit_s = patience.limit_s(self.method.idle_s)
        if limit_s is not None and patience.due is None:
            timer = self.method.loop.call_later(limit_s, self._look_whether_it_came, patience)
            patience.due = timer.cancel

    def _look_whether_it_came(self, patience: Patience, last: bool = False) -> None:
        patience.due = None
        if self.patience is not patience or self._attempt is None:
            return
        attempts = 0 if self._tries is None else self._tries.attempts
        left_s = patience.left_s(_now(), self.method, attempts, self._attempt[0])
        if left_s is None:
            return
        if left_s > 0:
            timer = self.method.loop.call_later(left_s, self._look_whether_it_came, patience)
            patience.due = timer.cancel
            return
        if not last:  # what came while the loop was busy is on its way to the reader
            last_look = self.method.loop.call_soon(self._look_whether_it_came, patience, True)
            patience.due = last_look.cancel
            return
        patience.over = True
        self.given_up = self.inner
        self.inner.cancel()

    def took(self, message: Any) -> None:
        """Note that a message has reached the caller."""
        patience, attempt = self.patience, self._attempt
        if attempt is not None:
            attempt[0].heard(None if self._delivered else _now() - attempt[1])
        if patience is not None:
            if not patience.came and attempt is not None and self.method.attempt_limit is not None:
                self.method.attempt_limit.observe(_now() - attempt[1])
            patience.came, patience.since = True, None
        self._delivered = True
        if self.method.resume is not None:
            if self._received is None:
                self._received = []
            self._received.append(message)
        if self._tries is not None:
            self._tries.progressed()

    # --- the end ---------------------------------------------------------------------------

    def _end(self, failure: NoNodeError | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        self.failure = failure
        if self._ticket is not None:
            self._ticket.leave(_now())
        self.method.calls.discard(self)
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
        self.abandon(ended_by(error))

    def abandon(self, failure: NoNodeError | None = None) -> None:
        """Count the call out, whatever gRPC makes of it. All that an ended loop leaves to do."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            node, began_at = attempt
            now = _now()
            self.method.end(node, now - began_at, Outcome.CANCELLED, now)
        if self.patience is not None:
            self.patience.call_off()
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

    def next_of(self, inner: Any) -> Awaitable[Any]:
        """Return what gives the next response of an attempt, or grpc.aio.EOF."""
        response: Awaitable[Any] = inner.read()
        return response

    async def decided(self, inner: Any, *, drained: bool = True) -> None:
        """Wait until the true status of an attempt is known, which it is here.

        Not ``drained``: responses that are still to be read may hold it back; wait a little only.
        """

    async def settled(self) -> Any:
        """Wait for the end; return gRPC's last call, None if ``failure`` or a cancel came first."""
        while not self.ended:
            await self._change()
        return None if self.failure is not None else self.inner


def _wake(loop: asyncio.AbstractEventLoop, told: asyncio.Event, ticket: Ticket) -> None:
    """Tell a call in the line what became of it; from any thread."""
    try:
        loop.call_soon_threadsafe(told.set)
    except RuntimeError:  # the loop has ended
        ticket.leave(_now())
