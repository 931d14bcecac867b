"""Learn how fast a node is from the latencies of calls by the occupancy that they found.

The mean latency alone confuses a busy node with a slow one, so each latency is compared with what
a server in that state would show (``curve_fit``). There are two kinds of evidence:

- flow: calls in flight at the node, integrated over time and summed over all clients, and the
  calls that ended meanwhile. By Little's law N in flight for T seconds with D ended tells of D
  calls with latencies that add up to N x T, each beside N - 1 others. Nobody chose these moments,
  so they do not deceive, and this evidence is used as soon as there is enough. The integral
  matters: N only looked at now and then makes the knee seem nearer and the base shorter.
- single latencies by the occupancy that the caller believed. Pickers choose what they believe to
  be idle, so the truth was busier than the belief, and the node looks slower the older the beliefs
  are (twice too slow at 100 ms, in simulation). Good when the server itself counted.

Old evidence is forgotten at an exponential rate. A controller takes in the flow of thousands of
nodes ten times a second, so what runs then is written out rather than called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from math import exp

from meshlb.model import LatencyBucket, SpeedCurve
from meshlb.policy.curve_fit import Point, fit, scaled
from meshlb.policy.load import bucket

FORGET_S = 10.0
"""Time constant of forgetting: a changed speed is learned within two or three of these."""

ENOUGH_CALLS = 8.0
"""Calls that make a first curve; the mean of exponential latencies is then right to a third."""

KEPT_CALLS = 16.0
"""Forgetting stops here, so that a node that is seldom called keeps a curve."""

HOLD_S = 300.0
"""A node that nobody has called for so long is unknown again."""

SHAPE_FORGET_S = 60.0
"""Time constant for the curve's shape, which changes seldom and takes more calls to tell."""

SHAPE_S = 10.0
"""A shape is fitted again after this; fitting is dear, and a controller has thousands of nodes."""

SHAPE_GROWTH = 1.2
"""And whenever it would rest on so many times the calls of the last one."""

REFIT_S = 0.5
"""A curve is scaled to the newest calls at most so often."""

_LEAST_S = 1e-6
_RESCALE_AT = 1e9


class _Source:
    """One kind of evidence, forgotten at an exponential rate, and the curve that it makes.

    There are two memories of the same calls: a long one for the shape of the curve, a short one
    for its level.
    """

    __slots__ = (
        "_curve", "_curve_at", "_latest", "_long_growth", "_shape", "_shape_at", "_shape_calls",
        "_short_growth", "_slots", "_sums", "ended_at", "long_calls", "short_calls",
    )  # fmt: skip

    def __init__(self) -> None:
        self._sums: dict[int, list[float]] = {}
        """Occupancy -> [calls, seconds] of the long memory, then of the short one, all times the
        memory's growth when they came."""
        self.long_calls = self.short_calls = 0.0
        """All calls, decayed to ``_latest``."""
        self.ended_at = -math.inf
        """When the last call ended."""
        self._long_growth = self._short_growth = 1.0
        self._latest = -math.inf
        self._shape: SpeedCurve | None = None
        self._shape_at = -math.inf
        self._shape_calls = 0.0
        self._curve: SpeedCurve | None = None
        self._curve_at = -math.inf
        self._slots: int | None = None

    def add(self, found: int, calls: float, seconds: float) -> None:
        """Take in calls that found ``found`` others, and the sum of their latencies."""
        found = bucket(found) if found > 0 else 0
        sums = self._sums.get(found)
        if sums is None:
            sums = self._sums[found] = [0.0, 0.0, 0.0, 0.0]
        growth = self._long_growth
        sums[0] += calls * growth
        sums[1] += seconds * growth
        growth = self._short_growth
        sums[2] += calls * growth
        sums[3] += seconds * growth
        if calls > 0.0:
            self.long_calls += calls
            self.short_calls += calls
            self.ended_at = self._latest

    def forget(self, now: float) -> None:
        """Let all before ``now`` count less."""
        elapsed = now - self._latest
        if elapsed <= 0.0:
            return
        self._latest = now
        calls = self.long_calls
        if calls > KEPT_CALLS:
            keep = exp(-elapsed / SHAPE_FORGET_S)
            least = KEPT_CALLS / calls
            keep = max(keep, least)
            self.long_calls = calls * keep
            self._long_growth /= keep
            if self._long_growth > _RESCALE_AT:
                self._rescale(self._long_growth, 1.0)
        calls = self.short_calls
        if calls > KEPT_CALLS:
            keep = exp(-elapsed / FORGET_S)
            least = KEPT_CALLS / calls
            keep = max(keep, least)
            self.short_calls = calls * keep
            self._short_growth /= keep
            if self._short_growth > _RESCALE_AT:
                self._rescale(1.0, self._short_growth)

    def _rescale(self, long: float, short: float) -> None:
        """Divide all sums by so much, and drop what is nothing then."""
        self._long_growth /= long
        self._short_growth /= short
        kept = {}
        for found, (long_calls, long_s, short_calls, short_s) in self._sums.items():
            a, b = (long_calls / long, long_s / long) if long_s > long * _LEAST_S else (0.0, 0.0)
            c, d = (
                (short_calls / short, short_s / short) if short_s > short * _LEAST_S else (0.0, 0.0)
            )
            if b or d:
                kept[found] = [a, b, c, d]
        self._sums = kept

    def _long(self) -> list[Point]:
        """Return what is left in the long memory, by occupancy."""
        growth = self._long_growth
        least = growth * _LEAST_S
        return [
            (found, calls / growth, seconds / growth)
            for found, (calls, seconds, _, _) in sorted(self._sums.items())
            if seconds > least
        ]

    def _short(self) -> list[Point]:
        """Return what is left in the short memory, by occupancy."""
        growth = self._short_growth
        least = growth * _LEAST_S
        return [
            (found, calls / growth, seconds / growth)
            for found, (_, _, calls, seconds) in sorted(self._sums.items())
            if seconds > least
        ]

    def curve(self, now: float, slots: int | None) -> SpeedCurve | None:
        """Return the curve now; None without points."""
        if (
            self._curve is not None
            and slots == self._slots
            and (now - self._curve_at < REFIT_S or self.ended_at <= self._curve_at)
        ):
            return self._curve
        self._curve_at = now
        if (
            self._shape is None
            or slots != self._slots
            or now - self._shape_at >= SHAPE_S
            or self.long_calls >= SHAPE_GROWTH * self._shape_calls
        ):
            self._shape = fit(self._long(), slots)
            self._shape_at, self._shape_calls = now, self.long_calls
            self._slots = slots
        self._curve = None if self._shape is None else scaled(self._shape, self._short(), slots)
        return self._curve


class SpeedLearner:
    """What all clients have seen of one node's speed. Not safe for concurrent writers."""

    __slots__ = ("_calls", "_flow")

    def __init__(self) -> None:
        self._calls = _Source()
        self._flow = _Source()

    def observe(self, buckets: Iterable[LatencyBucket], now: float) -> None:
        """Take new calls in: differences since the reporter's last report, not running sums.

        Buckets without calls, or with sums that are no positive finite number, are left out.
        """
        source = self._calls
        source.forget(now)
        for one in buckets:
            if one.count > 0 and 0.0 < one.sum_s < math.inf:
                source.add(one.in_flight, one.count, one.sum_s)

    def observe_flow(
        self, occupancy: float, seconds: float, ended: int, now: float, beside: float = 0.0
    ) -> None:
        """Take in what passed through the node since the last time, over all clients.

        ``occupancy`` is the mean of calls in flight, ``seconds`` their number summed over time,
        ``ended`` the calls that ended well. To be called at a steady pace. ``beside`` is what else
        runs there and is not among ``ended``: it makes the node busy, but tells nothing of its
        speed.
        """
        source = self._flow
        source.forget(now)
        if seconds > 0.0:
            source.add(int(max(0.0, occupancy + beside - 0.5)), ended, seconds)

    @property
    def calls(self) -> float:
        """How many calls the curve's level rests on; the older count less."""
        return self._source().short_calls

    def curve(self, now: float, slots: int | None) -> SpeedCurve | None:
        """Return the curve learned so far; None until there is evidence enough, or if it is old."""
        source = self._source()
        if source.short_calls < ENOUGH_CALLS or now - source.ended_at > HOLD_S:
            return None
        return source.curve(now, slots)

    def _source(self) -> _Source:
        flow, calls = self._flow, self._calls
        known = flow.short_calls >= ENOUGH_CALLS and flow.ended_at > calls.ended_at - FORGET_S
        return flow if known else calls
