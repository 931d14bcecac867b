"""How long a call is served, waiting in line excluded, over a long window, by Little's law.

Calls in flight rise faster than the load: the more of them a server runs together, the longer each
takes, and what no slot serves piles up for as long as too few nodes are there. Calls begun a
second tell the load at once and in proportion; times this they are calls in flight again.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshlb.policy.windows import Window
from meshlb.scale_model import Reading

SPAN_S = 600.0
BUCKETS = 60
LEAST_S = 60.0
"""From so much time on it is told."""

GAP_S = 5.0
"""Readings further apart than this tell nothing of the time between."""


class ServiceTime:
    """Of one service."""

    __slots__ = ("_at", "_rate", "_seconds", "_served")

    def __init__(self) -> None:
        self._served = Window(SPAN_S, BUCKETS)
        self._rate = Window(SPAN_S, BUCKETS)
        self._at: float | None = None
        self._seconds = 0.0

    def observe(self, readings: Mapping[str, Reading], now: float) -> None:
        """Take one tick's counts in, if they are all there."""
        in_flight, rate = (_total(readings, name) for name in ("in_flight", "rate"))
        before, self._at = self._at, now
        if in_flight is None or rate is None or before is None or now - before > GAP_S:
            return
        queued = _total(readings, "queued") or 0.0
        elapsed_s = now - before
        nodes = readings["in_flight"].measured
        self._served.add(max(0.0, in_flight - queued), nodes, elapsed_s, now)
        self._rate.add(rate, 0, elapsed_s, now)
        self._seconds += elapsed_s

    def seconds(self) -> float | None:
        """Return the mean time that a call is served; None: too little is known."""
        served, rate = self._served.mean(), self._rate.mean()
        if served is None or rate is None or rate <= 0.0 or self._seconds < LEAST_S:
            return None
        return served / rate

    def a_node(self) -> float | None:
        """Return the mean number of calls that a node served meanwhile; None: not known."""
        return self._served.mean_a_node()


def _total(readings: Mapping[str, Reading], name: str) -> float | None:
    reading = readings.get(name)
    return None if reading is None else reading.total
