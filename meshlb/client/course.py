"""The course over its attempts of a call that runs while its caller does other things.

gRPC's threads hold it, never what the caller holds (``running_call``), so that a call whose caller
has dropped it is seen to be dropped, and cancelled. An attempt ends exactly once, whoever notices
first: the thread that reads messages or gRPC's own. Long because all of it moves one state.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from meshlb.client.gate import Ticket, class_of
from meshlb.client.later import Due
from meshlb.client.method import Method
from meshlb.client.node import Node, Outcome
from meshlb.client.patience import Patience, unanswered
from meshlb.client.replay import Replay
from meshlb.client.retry import Again
from meshlb.client.tries import Tries, request_for_rest
from meshlb.client.waiting import (
    BrokenOffError,
    NoNodeError,
    every_node_refuses,
    no_room,
    not_ready_in_time,
    refused,
    too_late,
    waited_for_room,
)

_now = time.perf_counter


class Course:
    """The course of one call over its attempts."""

    def __init__(
        self, method: Method, request: Any, timeout: float | None, args: tuple[Any, ...]
    ) -> None:
        self.method = method
        self.streams_answers = method.arity.endswith("_stream")
        self.replay = Replay(request) if method.arity.startswith("stream_") else None
        timeout = method.limit(timeout)
        self.deadline = None if timeout is None else _now() + timeout
        self.changed = threading.Condition()
        self.inner: Any = None
        """gRPC's call of the attempt that runs, or of the last one; None: none runs yet."""
        self.ended = False
        self.error: Any = None
        """What it ended with, if that is not ``inner`` itself."""
        self.callbacks: list[Callable[[], None]] = []
        self._request = request
        self._args = args
        self._received: list[Any] = []
        self._delivered = False
        self._tries: Tries | None = None
        self._cancelled = False
        self._attempt: tuple[Node, float] | None = None
        """Node and time of begin, of the attempt that runs."""
        self._ticket: Ticket | None = None
        """Its right to run, where calls are limited."""
        self._line_due: Due | None = None
        """The end of its wait in the line, at its deadline."""
        self._limit_s: float | None = None
        """gRPC ends the attempt that runs before the deadline of the call."""
        self._patience: Patience | None = None
        """Of an attempt whose messages may not let wait for too long."""

    # --- attempts --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin an attempt now if there is a node, else wait for one in the background."""
        if not self._begin_if_there_is_a_node():
            self.method.open()
            self.method.room.enter(self, 0.0)

    def look_again(self) -> bool:
        """Begin if that can be now; return whether there is nothing left to wait for."""
        if self.ended:
            return True
        try:
            if self._begin_if_there_is_a_node():
                return True
        except (
            Exception
        ) as error:  # the channel was closed, or metadata are none: nobody to raise to
            self._end(_ended_by(error))
            return True
        routes = self.method.routes
        failure = refused(routes, self.method.waits or self._args[2])
        if failure is None and self.deadline is not None and _now() >= self.deadline:
            failure = too_late(routes)
        if failure is not None:
            self._end(failure)
        return failure is not None

    def _comes_in(self) -> bool:
        """Return whether it may run; if not, it ended, or waits in the line."""
        gate = self.method.view.routes.gate
        if gate is None or self._ticket is not None:
            return True
        kind = class_of(self._args[0], self.method.priority)
        ticket = gate.enter(kind, self.deadline, _now(), self._told)
        with self.changed:
            self._ticket = ticket
            ended = self.ended
        if ended:
            ticket.leave(_now())
        elif ticket.refusal is not None:
            self._end(no_room(ticket.refusal))
        elif ticket.waits and self.deadline is not None:
            late = functools.partial(self._late_in_line, ticket)
            self._line_due = self.method.later.do(self.deadline - _now(), late)
        return not (ticket.waits or ended or ticket.refusal)

    def _told(self, ticket: Ticket) -> None:
        """Note what became of it in the line; from any thread, which may end another call."""
        self.method.later.do(0.0, functools.partial(self._go_in, ticket))

    def _go_in(self, ticket: Ticket) -> None:
        with self.changed:
            self._ticket = ticket  # whoever entered may not have come to that yet
        if self._line_due is not None:
            self._line_due.call_off()
        if ticket.refusal is not None:
            self._end(no_room(ticket.refusal))
        elif not self.look_again():
            self.method.room.enter(self, 0.0)

    def _late_in_line(self, ticket: Ticket) -> None:
        if not ticket.inside and not self.ended:
            self._end(waited_for_room(self.method.routes))

    def _begin_if_there_is_a_node(self) -> bool:
        if not self._comes_in():
            return True
        tried = self._tries.tried if self._tries is not None else ()
        begun = self.method.view.begin(_now(), tried)
        if begun is not None:
            self._begin(begun)
        return begun is not None

    def _begin(self, node: Node) -> None:
        began_at = _now()
        metadata, credentials, _, compression = self._args
        left_s = None if self.deadline is None else self.deadline - began_at
        request = self._request if self.replay is None else self.replay.reader()
        method, limit_s, patience = self.method, None, None
        if method.attempt_limit is not None:
            attempts = 0 if self._tries is None else self._tries.attempts
            if self.streams_answers:
                patience = Patience(method.attempt_s(began_at, attempts, left_s))
            else:
                left_s, limit_s = method.bounded(left_s, began_at, attempts)
        elif method.idle_s is not None:
            patience = Patience(None)
        try:
            raw = self.method.on(node)
            call = raw if self.streams_answers else raw.future
            inner = call(request, left_s, metadata, credentials, False, compression)
        except BaseException as error:
            self.method.routes.end(node, 0.0, Outcome.CANCELLED, began_at)
            if isinstance(error, grpc.RpcError):  # the request could not be serialized
                self._end(error)
                return
            raise
        with self.changed:
            self._attempt = (node, began_at)
            self._limit_s, self._patience = limit_s, patience
            self.inner = inner
            cancelled = self._cancelled
            self.changed.notify_all()
        if cancelled:
            inner.cancel()
        inner.add_done_callback(self.attempt_done)

    def attempt_done(self, inner: Any) -> bool:
        """Take note that an attempt ended; return whether the call goes on with another.

        Called by gRPC when it knows, and by readers when they see it; the first one decides.
        """
        now = _now()
        with self.changed:
            if self.inner is not inner:
                return True
            attempt, self._attempt = self._attempt, None
            if attempt is None:
                return not self.ended
            node, began_at = attempt
            if self._patience is not None:
                self._patience.call_off()
            code = inner.code()
            routes, beside = self.method.routes, False
            whole = self._patience is None or not self._patience.dropped
            if code is grpc.StatusCode.OK and whole:
                routes.end(node, now - began_at, Outcome.OK, now)
                if self._delivered:
                    node.load.answer_s = 0.0  # its first message was its answer
                self._answered(now - began_at)
                if self.method.attempt_limit is not None and not self.streams_answers:
                    self.method.attempt_limit.observe(now - began_at)
                again = None
            elif self._cancelled:
                routes.end(node, now - began_at, Outcome.CANCELLED, now)
                again = None
            else:
                self._tries = self._tries or self.method.tries(self._args[2])
                overdue = self.method.overdue(self._limit_s, code, now - began_at)
                if self._patience is not None:
                    overdue = self._patience.over
                again = self._tries.failed(
                    node,
                    began_at,
                    now,
                    (code, inner.details(), inner.trailing_metadata()),
                    delivered=self._delivered,
                    # What a stream of requests has said cannot be said otherwise.
                    resume=self._resume if self.method.resume and self.replay is None else None,
                    overdue=overdue,
                )
                if self.replay is not None and not self.replay.replayable:
                    again = None
                beside = again is not None or not self._tries.final
            late = (
                again is not None
                and self.deadline is not None
                and now + again.delay_s >= self.deadline
            )
            if beside and self._go_on_beside():
                return True
            if again is not None and not late:
                self.inner = None
        if again is None or late:
            self._end(self._final(inner, again))
            return False
        if again.delay_s > 0:
            self.method.room.enter(self, again.delay_s)
        elif not self.look_again():
            self.method.room.enter(self, 0.0)
        return True

    def _answered(self, latency_s: float) -> None:
        """Take note that an attempt ended well after so long."""

    def _go_on_beside(self) -> bool:
        """Go on with another attempt that runs already; return whether there is one."""
        return False

    def _final(self, inner: Any, again: Again | None) -> Any:
        """Return what the call ended with, if that is not gRPC's own call."""
        tries = self._tries
        if tries is None or self._cancelled:
            return None
        if tries.complete:
            return BrokenOffError(inner.initial_metadata(), inner.trailing_metadata())
        if tries.in_vain or (again is not None and again.waits):
            return not_ready_in_time(self.method.routes, inner.details())
        if tries.refused:
            return every_node_refuses(self.method.routes, inner.details())
        if self._patience is not None and self._patience.over:
            return unanswered(tries.tried[-1], late=again is not None)
        return None

    def _resume(self) -> bool:
        """Let the caller's hook build the next request; whether there is one."""
        hook = self.method.resume
        assert hook is not None
        request = request_for_rest(hook, self._request, self._received)
        if request is None:
            return False
        self._request = request
        self._received = []
        return True

    def _end(self, error: Any) -> None:
        with self.changed:
            if self.ended:
                return
            self.ended = True
            self.error = error
            callbacks, self.callbacks = self.callbacks, []
            self.changed.notify_all()
        if self._ticket is not None:
            self._ticket.leave(_now())
        if self._line_due is not None:
            self._line_due.call_off()
        if self.replay is not None:
            self.replay.commit()
        for callback in callbacks:
            callback()

    # --- the caller's side -----------------------------------------------------------------

    def current(self) -> Any:
        """Wait until an attempt runs or the call ended; return gRPC's call, or the error."""
        with self.changed:
            self.changed.wait_for(lambda: self.inner is not None or self.ended)
            return self.inner if self.error is None else self.error

    def next_message(self) -> Any:
        """Return the next message of the answer; StopIteration or grpc.RpcError at its end."""
        while True:
            inner = self.current()
            if self.error is not None:
                if self.error.code() is grpc.StatusCode.OK:
                    raise StopIteration
                raise self.error
            if self._patience is not None:
                self._wait_patiently(inner, self._patience)
            try:
                message = next(inner)
            except StopIteration:
                if self.attempt_done(inner):
                    continue
                raise
            except grpc.RpcError:
                if self.attempt_done(inner) or self.error is not None:
                    continue
                raise
            with self.changed:
                given_up = self._patience is not None and self._patience.leaves_out()
                if given_up or self.inner is not inner:
                    continue  # it broke meanwhile: the next attempt says this again
                self._took(message)
            return message

    def _wait_patiently(self, inner: Any, patience: Patience) -> None:
        """See to it that the attempt ends if its next message does not come in time."""
        with self.changed:
            patience.since = _now()
            limit_s = patience.limit_s(self.method.idle_s)
            if limit_s is not None and patience.due is None and self.inner is inner:
                look = functools.partial(self._look_whether_it_came, inner, patience)
                patience.due = self.method.later.do(limit_s, look).call_off

    def _look_whether_it_came(self, inner: Any, patience: Patience) -> None:
        with self.changed:
            patience.due = None
            if self.inner is not inner or self._attempt is None:
                return
            attempts = 0 if self._tries is None else self._tries.attempts
            left_s = patience.left_s(_now(), self.method, attempts, self._attempt[0])
            if left_s is None:
                return
            if left_s > 0:
                look = functools.partial(self._look_whether_it_came, inner, patience)
                patience.due = self.method.later.do(left_s, look).call_off
                return
            patience.over = True
        inner.cancel()

    def _took(self, message: Any) -> None:
        patience, attempt = self._patience, self._attempt
        if attempt is not None:
            attempt[0].heard(None if self._delivered else _now() - attempt[1])
        if patience is not None:
            if not patience.came and attempt is not None and self.method.attempt_limit is not None:
                self.method.attempt_limit.observe(_now() - attempt[1])
            patience.came, patience.since = True, None
        self._delivered = True
        if self.method.resume is not None:
            self._received.append(message)
        if self._tries is not None:
            self._tries.progressed()
        if self.replay is not None:
            self.replay.commit()

    def cancel(self) -> bool:
        """End the call as its caller wishes; whether there was something to end."""
        with self.changed:
            if self.ended:
                return False
            self._cancelled = True
            inner = self.inner
        if inner is not None:
            inner.cancel()
            self.attempt_done(inner)
        else:
            self._end(NoNodeError(grpc.StatusCode.CANCELLED, "Locally cancelled by application!"))
            self.method.room.leave(self)
        return True

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled it before it ended."""
        return self._cancelled

    def settled(self, timeout: float | None = None) -> Any:
        """Wait for the end; return gRPC's last call, or the error that there is instead."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, timeout):
                raise grpc.FutureTimeoutError
        return self.inner if self.error is None else self.error


def _ended_by(error: Exception) -> Any:
    """Return what a call ends with that could not begin its next attempt."""
    if isinstance(error, grpc.RpcError):
        return error
    closed = isinstance(error, ValueError)
    code = grpc.StatusCode.CANCELLED if closed else grpc.StatusCode.INTERNAL
    return NoNodeError(code, str(error))
