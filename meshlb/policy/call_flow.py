"""How many calls a service's clients begin a second, and how long calls take, from their counts."""

from __future__ import annotations

from collections.abc import Mapping

from meshlb.model import CallReport, NodeCalls
from meshlb.policy.smooth import Smooth

RATE_SMOOTH_S = 1.0


class CallFlow:
    """All clients of one service. Written by ``ServiceRecord`` only."""

    __slots__ = ("_at", "_begun", "_ended", "_rate", "_spent_s", "rate", "response_time_s")

    def __init__(self) -> None:
        self._at: float | None = None
        self._begun = self._ended = 0
        self._spent_s = 0.0
        self._rate = Smooth(RATE_SMOOTH_S)
        self.rate: float | None = None
        """Calls begun a second; None: no tick has passed."""
        self.response_time_s: float | None = None
        """Mean of the calls that ended since the last tick; None: none did.

        By Little's law: time in flight, all calls together, a call that ended.
        """

    def observe(self, known: Mapping[str, NodeCalls], report: CallReport) -> None:
        """Take in what is new since a client's last report, whose entries are ``known`` by node."""
        for calls in report.nodes:
            before = known.get(calls.node_id)
            if before is calls:
                continue
            before = before or NodeCalls(calls.node_id, 0)
            self._begun += max(0, calls.started - before.started)
            ended = calls.succeeded + calls.failed - before.succeeded - before.failed
            self._ended += max(0, ended)
            self._spent_s += max(0.0, calls.in_flight_time_s - before.in_flight_time_s)

    def skip(self, now: float) -> None:
        """Leave out what has come in since the last tick: the figures stay as they were."""
        self._at, self._begun = now, 0
        self._ended, self._spent_s = 0, 0.0

    def tick(self, now: float) -> None:
        """Bring the figures up to ``now``."""
        if self._at is None:
            self._at, self._begun = now, 0
            return
        elapsed_s = now - self._at
        if elapsed_s <= 0:
            return
        self.rate = self._rate.add(self._begun / elapsed_s, now)
        self._at, self._begun = now, 0
        self.response_time_s = None
        if self._ended > 0:
            self.response_time_s = self._spent_s / self._ended
            self._ended, self._spent_s = 0, 0.0
