"""Learn how fast a node is from the latencies of calls by the occupancy that they found.

The mean latency alone confuses a busy node with a slow one, so each latency is compared with what
a server in that state would show. There are two kinds of evidence:

- flow: calls in flight at the node, integrated over time and summed over all clients, and the
  calls that ended meanwhile. By Little's law N in flight for T seconds with D ended tells of D
  calls with latencies that add up to N x T, each beside N - 1 others. Nobody chose these moments,
  so they do not deceive, and this evidence is used as soon as there is enough. The integral
  matters: N only looked at now and then makes the knee seem nearer and the base shorter.
- single latencies by the occupancy that the caller believed. Pickers choose what they believe to
  be idle, so the truth was busier than the belief, and the node looks slower the older the beliefs
  are (twice too slow at 100 ms, in simulation). Good when the server itself counted.

The model is the hinge of ``SpeedCurve``. By queueing theory a server of c slots and mean service
time s has base s, knee c, slope s/c, so with declared slots one number is left to learn. A slope
or a knee of its own is taken only where the data speak clearly against theory, since latencies
scatter by their own size. Old evidence is forgotten at an exponential rate. Long because the two
kinds share one fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from meshlb.model import LatencyBucket, SpeedCurve
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

KNEES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
"""Knees that are tried, in calls."""

CLEAR_GAIN = 0.15
"""Log-likelihood a call (nats) by which a curve of its own must beat theory."""

HEADROOM = 2.0
"""Knee and capacity are at most so many times what was seen at the node. What delays all calls
alike, such as a client short of CPU, looks like a node that no load slows down; believed without a
bound it draws every call, and its real queue is then taken for more of the same."""

SLOPE_PRIOR_CALLS = 20.0
"""Theory's slope counts as much as so many calls."""

_LEAST_S = 1e-6
_LEAST_SLOPE_S = 1e-9
_MOST_S = 1e6
_RESCALE_AT = 1e9


class _Point(NamedTuple):
    """Calls that found ``found`` others: how many (decayed), and the sum of their latencies."""

    found: int
    calls: float
    seconds: float


class _Fit(NamedTuple):
    loss: float
    curve: SpeedCurve


class _Evidence:
    """Calls and seconds by occupancy, forgotten at an exponential rate."""

    __slots__ = ("_forget_s", "_growth", "_latest", "_sums", "calls", "ended_at")

    def __init__(self, forget_s: float) -> None:
        self._forget_s = forget_s
        self._sums: dict[int, list[float]] = {}
        """Occupancy -> [calls, seconds], both times ``_growth`` when they came."""
        self.calls = 0.0
        """All calls, decayed to ``_latest``."""
        self.ended_at = -math.inf
        """When the last call ended."""
        self._growth = 1.0
        self._latest = -math.inf

    def add(self, found: int, calls: float, seconds: float) -> None:
        """Take in calls that found ``found`` others, and the sum of their latencies."""
        sums = self._sums.get(found)
        if sums is None:
            sums = self._sums[found] = [0.0, 0.0]
        sums[0] += calls * self._growth
        sums[1] += seconds * self._growth
        self.calls += calls
        if calls > 0.0:
            self.ended_at = self._latest

    def forget(self, now: float) -> None:
        """Let all before ``now`` count less."""
        elapsed = now - self._latest
        if elapsed <= 0.0:
            return
        self._latest = now
        if self.calls <= KEPT_CALLS:
            return
        keep = max(math.exp(-elapsed / self._forget_s), KEPT_CALLS / self.calls)
        self.calls *= keep
        self._growth /= keep
        if self._growth > _RESCALE_AT:
            growth, self._growth = self._growth, 1.0
            self._sums = {
                found: [calls / growth, seconds / growth]
                for found, (calls, seconds) in self._sums.items()
                if seconds > growth * _LEAST_S
            }

    def points(self) -> list[_Point]:
        """Return what is left, by occupancy."""
        growth = self._growth
        return [
            _Point(found, calls / growth, seconds / growth)
            for found, (calls, seconds) in sorted(self._sums.items())
            if seconds > growth * _LEAST_S
        ]


class _Source:
    """One kind of evidence: a long memory for the shape of the curve, a short one for its level."""

    __slots__ = (
        "_curve", "_curve_at", "_shape", "_shape_at", "_shape_calls", "_slots", "long", "short",
    )  # fmt: skip

    def __init__(self) -> None:
        self.long = _Evidence(SHAPE_FORGET_S)
        self.short = _Evidence(FORGET_S)
        self._shape: SpeedCurve | None = None
        self._shape_at = -math.inf
        self._shape_calls = 0.0
        self._curve: SpeedCurve | None = None
        self._curve_at = -math.inf
        self._slots: int | None = None

    def forget(self, now: float) -> None:
        """Let all before ``now`` count less."""
        self.long.forget(now)
        self.short.forget(now)

    def add(self, found: int, calls: float, seconds: float) -> None:
        """Take in calls that found ``found`` others, and the sum of their latencies."""
        found = bucket(max(0, found))
        self.long.add(found, calls, seconds)
        self.short.add(found, calls, seconds)

    def curve(self, now: float, slots: int | None) -> SpeedCurve | None:
        """Return the curve now; None without points."""
        if (
            self._curve is not None
            and slots == self._slots
            and (now - self._curve_at < REFIT_S or self.short.ended_at <= self._curve_at)
        ):
            return self._curve
        self._curve_at = now
        if (
            self._shape is None
            or slots != self._slots
            or now - self._shape_at >= SHAPE_S
            or self.long.calls >= SHAPE_GROWTH * self._shape_calls
        ):
            self._shape = fit(self.long.points(), slots)
            self._shape_at, self._shape_calls = now, self.long.calls
            self._slots = slots
        points = self.short.points()
        self._curve = None if self._shape is None else _scaled(self._shape, points, slots)
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
        self._calls.forget(now)
        for one in buckets:
            if one.count > 0 and 0.0 < one.sum_s < math.inf:
                self._calls.add(one.in_flight, one.count, one.sum_s)

    def observe_flow(
        self, occupancy: float, seconds: float, ended: int, now: float, beside: float = 0.0
    ) -> None:
        """Take in what passed through the node since the last time, over all clients.

        ``occupancy`` is the mean of calls in flight, ``seconds`` their number summed over time,
        ``ended`` the calls that ended well. To be called at a steady pace. ``beside`` is what else
        runs there and is not among ``ended``: it makes the node busy, but tells nothing of its
        speed.
        """
        self._flow.forget(now)
        if seconds > 0.0:
            self._flow.add(int(max(0.0, occupancy + beside - 0.5)), ended, seconds)

    def curve(self, now: float, slots: int | None) -> SpeedCurve | None:
        """Return the curve learned so far; None until there is evidence enough, or if it is old."""
        flow, calls = self._flow.short, self._calls.short
        known = flow.calls >= ENOUGH_CALLS and flow.ended_at > calls.ended_at - FORGET_S
        source = self._flow if known else self._calls
        if source.short.calls < ENOUGH_CALLS or now - source.short.ended_at > HOLD_S:
            return None
        return source.curve(now, slots)


def _scaled(shape: SpeedCurve, points: Sequence[_Point], slots: int | None) -> SpeedCurve:
    """Return the curve of that shape which agrees with the points in the mean.

    Its capacity, 1/slope, is that of the declared slots at the most, else HEADROOM times the
    greatest flow among the points.
    """
    calls = sum(p.calls for p in points)
    ratio = sum(p.seconds / shape.latency_s(p.found) for p in points) / calls
    base_s, slope_s = shape.base_s * ratio, shape.slope_s * ratio
    if slots is not None:
        slope_s = max(slope_s, base_s / max(1, slots))
    else:
        often = [p for p in points if p.calls >= 0.05 * calls] or points
        flow = max((p.found + 1) * p.calls / p.seconds for p in often)
        slope_s = max(slope_s, 1.0 / (HEADROOM * flow))
    return SpeedCurve(_within(base_s, _LEAST_S), _within(slope_s, _LEAST_SLOPE_S), shape.knee)


def fit(points: Sequence[_Point], slots: int | None) -> SpeedCurve | None:
    """Return the curve that explains the points best, at rising prices for leaving theory."""
    if not points:
        return None
    calls = sum(p.calls for p in points)
    seen = 1 + max(p.found for p in points if p.calls >= 0.005 * calls)
    most = HEADROOM * (1.0 + sum(p.found * p.calls for p in points) / calls)
    knees = [k for k in KNEES if k <= min(seen + 1, most if slots is None else slots)] or [1]
    theory = [_by_theory(points, calls, knee) for knee in knees]
    trusted = (
        min(theory, key=lambda f: f.loss)
        if slots is None
        else _by_theory(points, calls, max(1, slots))
    )
    best = trusted
    for guess in theory:
        own = _own_slope(points, guess.curve)
        if own.loss < best.loss:
            best = own
    if trusted.loss - best.loss > CLEAR_GAIN * calls:
        trusted = best
    return trusted.curve


def _by_theory(points: Sequence[_Point], calls: float, knee: int) -> _Fit:
    """Fit the base alone: of a server with ``knee`` slots each latency is a multiple of it."""
    base_s = sum(p.seconds / _shape(p.found, knee) for p in points) / calls
    return _fit(points, base_s, base_s / knee, knee)


def _own_slope(points: Sequence[_Point], theory: SpeedCurve) -> _Fit:
    """Fit base and slope at theory's knee by weighted least squares, drawn to theory's slope."""
    w = wx = wxx = wy = wxy = 0.0
    for p in points:
        x = max(0.0, p.found + 1.0 - theory.knee)
        weight = p.calls / theory.latency_s(p.found) ** 2
        w += weight
        wx += weight * x
        wxx += weight * x * x
        wy += p.seconds / theory.latency_s(p.found) ** 2
        wxy += x * p.seconds / theory.latency_s(p.found) ** 2
    prior = SLOPE_PRIOR_CALLS / theory.base_s**2
    wxx += prior
    wxy += prior * theory.slope_s
    det = w * wxx - wx * wx
    if det <= 0.0:
        return _fit(points, theory.base_s, theory.slope_s, theory.knee)
    base_s = (wxx * wy - wx * wxy) / det
    slope_s = (w * wxy - wx * wy) / det
    if slope_s < 0.0:
        base_s, slope_s = wy / w, 0.0
    elif base_s <= 0.0:
        base_s, slope_s = 0.0, wxy / wxx
    least_s = 0.02 * theory.base_s
    return _fit(points, max(base_s, least_s), max(slope_s, least_s / theory.knee), theory.knee)


def _fit(points: Sequence[_Point], base_s: float, slope_s: float, knee: float) -> _Fit:
    """Return the curve with its loss: minus the log-likelihood of exponential latencies."""
    curve = SpeedCurve(_within(base_s, _LEAST_S), _within(slope_s, _LEAST_SLOPE_S), float(knee))
    loss = 0.0
    for p in points:
        expected_s = curve.latency_s(p.found)
        loss += p.calls * math.log(expected_s) + p.seconds / expected_s
    return _Fit(loss, curve)


def _within(value: float, least: float) -> float:
    return min(max(value, least), _MOST_S)


def _shape(found: int, knee: int) -> float:
    """Return the expected latency, in service times, of a call that finds ``found`` others."""
    return 1.0 + max(0.0, found + 1.0 - knee) / knee
