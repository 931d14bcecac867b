"""Counts what a model server does: pure but for a lock, so that threads and asyncio share it.

A call is in flight from its start to its end, waiting for a slot included; streams end at their
last message. ``now`` is seconds of any steady clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshlb.errors import InvalidInputError
from meshlb.orca import keys

RATE_WINDOW_S = 10.0
MAX_SLOTS = 1_000_000
MAX_BUCKETS_SENT = 24
"""Latency buckets in one report, the most used ones: named metrics are to stay few."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server measured, at one instant; None: not measured."""

    in_flight: int
    queued: int
    slots: int | None
    succeeded: int
    failed: int
    tokens_in: int | None
    tokens_out: int | None
    time_to_first_token_s: float | None
    requests_per_s: float
    errors_per_s: float
    application: float | None
    latency: dict[int, tuple[int, float]]
    """Occupancy found at the start -> (calls ended with OK, sum of their seconds)."""
    named: dict[str, float]

    def named_metrics(self) -> dict[str, float]:
        """Return all that ORCA has no field for, under the keys of ``meshlb.orca.keys``."""
        found: dict[str, float | None] = {
            keys.IN_FLIGHT: self.in_flight,
            keys.QUEUED: self.queued,
            keys.SLOTS: self.slots,
            keys.SUCCEEDED: self.succeeded,
            keys.FAILED: self.failed,
            keys.TOKENS_IN: self.tokens_in,
            keys.TOKENS_OUT: self.tokens_out,
            keys.TTFT_S: self.time_to_first_token_s,
        }
        for at, (count, total_s) in self.latency.items():
            found[f"{keys.LATENCY_COUNT}{at}"] = count
            found[f"{keys.LATENCY_SUM_S}{at}"] = total_s
        return {k: float(v) for k, v in found.items() if v is not None} | self.named


class Ticket:
    """One call, from ``LoadRecorder.begin`` to ``end``; the handler finds it by ``current()``."""

    __slots__ = ("_began_at", "_first", "_found", "_holds", "_over", "_recorder", "admitted")

    def __init__(self, recorder: LoadRecorder, began_at: float, found: int) -> None:
        self._recorder = recorder
        self._began_at = began_at
        self._found = found
        self._first = False
        self._holds = False
        """Whether it holds a slot."""
        self._over = False
        self.admitted = False
        """Whether it may run: it holds a slot, or none are enforced."""

    def add_tokens(self, taken_in: int = 0, generated: int = 0) -> None:
        """Count prompt tokens and generated tokens."""
        self._recorder._add_tokens(taken_in, generated)

    def first_token(self, now: float) -> None:
        """Note that the first token of this call was sent; once a call counts."""
        if not self._first:
            self._first = True
            self._recorder._first_token(now - self._began_at, now)

    def end(self, ok: bool, now: float) -> None:
        """Count the call out; a second time does nothing."""
        self._recorder._end(self, ok, now)


class LoadRecorder:
    """What one server measures of itself. Safe for several threads."""

    def __init__(self, slots: int | None = None, max_queued: int | None = None) -> None:
        """With ``slots``, no more calls than that run at once: others wait in order of arrival.

        Over ``max_queued`` waiting calls (None: no limit) the next one is refused with
        RESOURCE_EXHAUSTED. Raises InvalidInputError for numbers that cannot be.
        """
        if slots is not None and slots < 1:
            raise InvalidInputError(f"slots = {slots}: 1 or more, or None")
        if max_queued is not None and (slots is None or max_queued < 0):
            raise InvalidInputError(f"max_queued = {max_queued}: 0 or more, with slots, or None")
        self.slots = slots
        self.max_queued = max_queued
        self._lock = threading.Lock()
        self._in_flight = 0
        self._running = 0
        self._waiting: deque[tuple[Ticket, Callable[[], None]]] = deque()
        self._succeeded = self._failed = 0
        self._tokens: tuple[int, int] | None = None
        self._first_tokens: deque[tuple[float, float]] = deque()
        self._latency: dict[int, tuple[int, float]] = {}
        self._ends: deque[tuple[float, bool]] = deque()
        self._application: float | None = None
        self._named: dict[str, float] = {}

    # --- by interceptors -------------------------------------------------------------------

    def begin(self, now: float, admit: Callable[[], None] | None = None) -> Ticket | None:
        """Count a call in; None: the queue is full, and nothing was counted.

        A ticket that is not ``admitted`` waits for a slot: ``admit`` is called, from any thread,
        when it gets one. Without ``admit`` slots are not enforced.
        """
        with self._lock:
            ticket = Ticket(self, now, self._in_flight)
            if self.slots is None or admit is None:
                ticket.admitted = True
            elif self._running < self.slots:
                ticket.admitted = ticket._holds = True
                self._running += 1
            elif self.max_queued is not None and len(self._waiting) >= self.max_queued:
                return None
            else:
                self._waiting.append((ticket, admit))
            self._in_flight += 1
            return ticket

    def _end(self, ticket: Ticket, ok: bool, now: float) -> None:
        admit = None
        with self._lock:
            if ticket._over:
                return
            ticket._over = True
            self._in_flight -= 1
            if not ticket.admitted:
                self._waiting = deque(w for w in self._waiting if w[0] is not ticket)
            elif ticket._holds:
                if self._waiting and (self.slots is None or self._running <= self.slots):
                    following, admit = self._waiting.popleft()
                    following.admitted = following._holds = True
                else:
                    self._running -= 1
            if ok:
                self._succeeded += 1
                at = _bucket(ticket._found)
                count, total_s = self._latency.get(at, (0, 0.0))
                self._latency[at] = (count + 1, total_s + max(0.0, now - ticket._began_at))
            else:
                self._failed += 1
            self._ends.append((now, ok))
            _forget(self._ends, now)
        if admit is not None:
            admit()

    def _add_tokens(self, taken_in: int, generated: int) -> None:
        if taken_in < 0 or generated < 0:
            raise InvalidInputError(
                f"tokens = {taken_in} in, {generated} generated: 0 or more of each"
            )
        with self._lock:
            old = self._tokens or (0, 0)
            self._tokens = (old[0] + taken_in, old[1] + generated)

    def _first_token(self, after_s: float, now: float) -> None:
        with self._lock:
            self._first_tokens.append((now, max(0.0, after_s)))
            _forget(self._first_tokens, now)

    # --- by the sidecar --------------------------------------------------------------------

    def set_slots(self, slots: int) -> int:
        """Run so many calls at once from now on; return the number before.

        Calls that run go on; those that wait begin as soon as they may. Raises InvalidInputError
        for a number that cannot be, and, reason NOT_ENFORCED, for a recorder made without slots.
        """
        if not 1 <= slots <= MAX_SLOTS:
            raise InvalidInputError(f"slots = {slots}: from 1 to {MAX_SLOTS}")
        admitted = []
        with self._lock:
            before = self.slots
            if before is None:
                raise InvalidInputError(
                    f"slots = {slots}: this server does not enforce slots", reason="NOT_ENFORCED"
                )
            self.slots = slots
            while self._waiting and self._running < slots:
                ticket, admit = self._waiting.popleft()
                ticket.admitted = ticket._holds = True
                self._running += 1
                admitted.append(admit)
        for admit in admitted:
            admit()
        return before

    # --- by the application ----------------------------------------------------------------

    def set_utilization(self, value: float | None) -> None:
        """Say how used the application finds itself: 0 idle, 1 full, more is overload."""
        if value is not None and not 0 <= value < float("inf"):
            raise InvalidInputError(f"utilization = {value}: finite, 0 or more, or None")
        with self._lock:
            self._application = value

    def set_metric(self, name: str, value: float | None) -> None:
        """Report a figure of the application's own under ``name``; None takes it away."""
        if name.startswith(keys.PREFIX) or not 0 < len(name) <= 128:
            raise InvalidInputError(
                f"metric name = {name!r}: 1 to 128 characters, not beginning with {keys.PREFIX!r}"
            )
        if value is not None and not abs(value) < float("inf"):
            raise InvalidInputError(f"metric {name!r} = {value}: finite, or None")
        with self._lock:
            if value is None:
                self._named.pop(name, None)
            else:
                self._named[name] = value

    # --- by reports ------------------------------------------------------------------------

    def snapshot(self, now: float) -> Snapshot:
        """Return all that is measured; rates and time to first token are of the last 10 s."""
        with self._lock:
            _forget(self._ends, now)
            _forget(self._first_tokens, now)
            ended, failed = len(self._ends), sum(1 for _, ok in self._ends if not ok)
            waits = [after_s for _, after_s in self._first_tokens]
            most_used = sorted(self._latency, key=lambda at: -self._latency[at][0])
            return Snapshot(
                in_flight=self._in_flight,
                queued=len(self._waiting),
                slots=self.slots,
                succeeded=self._succeeded,
                failed=self._failed,
                tokens_in=None if self._tokens is None else self._tokens[0],
                tokens_out=None if self._tokens is None else self._tokens[1],
                time_to_first_token_s=sum(waits) / len(waits) if waits else None,
                requests_per_s=ended / RATE_WINDOW_S,
                errors_per_s=failed / RATE_WINDOW_S,
                application=self._application,
                latency={at: self._latency[at] for at in most_used[:MAX_BUCKETS_SENT]},
                named=dict(self._named),
            )


def _forget(events: deque[tuple[float, Any]], now: float) -> None:
    while events and now - events[0][0] > RATE_WINDOW_S:
        events.popleft()


def _bucket(found: int) -> int:
    """Return the bucket of an occupancy: exact to 16, then four significant bits."""
    shift = max(0, found.bit_length() - 4)
    return found >> shift << shift
