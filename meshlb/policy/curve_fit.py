"""Fit the hinge of ``SpeedCurve`` to calls and their latencies, grouped by occupancy.

By queueing theory a server of c slots and mean service time s has base s, knee c, slope s/c, so
with declared slots one number is left to learn. A slope or a knee of its own is taken only where
the data speak clearly against theory, since latencies scatter by their own size.

A controller fits thousands of curves a second, so sums over points are written out, and curves are
only made of what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from meshlb.model import SpeedCurve

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

Point = tuple[int, float, float]
"""Calls that found so many others: (found, how many calls, the sum of their latencies)."""


class _Fit(NamedTuple):
    loss: float
    """Minus the log-likelihood of exponential latencies."""
    base_s: float
    slope_s: float
    knee: float

    def curve(self) -> SpeedCurve:
        return SpeedCurve(self.base_s, self.slope_s, self.knee)


def fit(points: Sequence[Point], slots: int | None) -> SpeedCurve | None:
    """Return the curve that explains the points best, at rising prices for leaving theory."""
    if not points:
        return None
    calls = sum([n for _, n, _ in points])
    seen = 1 + max(found for found, n, _ in points if n >= 0.005 * calls)
    most = HEADROOM * (1.0 + sum([found * n for found, n, _ in points]) / calls)
    knees = [k for k in KNEES if k <= min(seen + 1, most if slots is None else slots)] or [1]
    theory = [_by_theory(points, calls, knee) for knee in knees]
    trusted = (
        min(theory, key=lambda f: f.loss)
        if slots is None
        else _by_theory(points, calls, max(1, slots))
    )
    # Most nodes are as theory says: then not even the best of all curves is clearly better.
    if trusted.loss - _least_loss(points) <= CLEAR_GAIN * calls:
        return trusted.curve()
    best = trusted
    for guess in theory:
        own = _own_slope(points, guess)
        if own.loss < best.loss:
            best = own
    if trusted.loss - best.loss > CLEAR_GAIN * calls:
        trusted = best
    return trusted.curve()


def scaled(shape: SpeedCurve, points: Sequence[Point], slots: int | None) -> SpeedCurve:
    """Return the curve of that shape which agrees with the points in the mean.

    Its capacity, 1/slope, is that of the declared slots at the most, else HEADROOM times the
    greatest flow among the points.
    """
    base_s, slope_s, knee = shape.base_s, shape.slope_s, shape.knee
    calls = ratio = 0.0
    for found, n, seconds in points:
        calls += n
        beyond = found + 1.0 - knee
        ratio += seconds / (base_s + slope_s * beyond if beyond > 0.0 else base_s)
    ratio /= calls
    base_s, slope_s = base_s * ratio, slope_s * ratio
    if slots is not None:
        slope_s = max(slope_s, base_s / max(1, slots))
    else:
        often = [p for p in points if p[1] >= 0.05 * calls] or points
        flow = max([(found + 1) * n / seconds for found, n, seconds in often])
        slope_s = max(slope_s, 1.0 / (HEADROOM * flow))
    return SpeedCurve(_within(base_s, _LEAST_S), _within(slope_s, _LEAST_SLOPE_S), knee)


def _by_theory(points: Sequence[Point], calls: float, knee: int) -> _Fit:
    """Fit the base alone: of a server with ``knee`` slots each latency is a multiple of it."""
    base_s = 0.0
    for found, _, seconds in points:
        beyond = found + 1.0 - knee
        base_s += seconds / (1.0 + beyond / knee) if beyond > 0.0 else seconds
    base_s /= calls
    return _fit(points, base_s, base_s / knee, knee)


def _own_slope(points: Sequence[Point], theory: _Fit) -> _Fit:
    """Fit base and slope at theory's knee by weighted least squares, drawn to theory's slope."""
    _, base_0, slope_0, knee = theory
    w = wx = wxx = wy = wxy = 0.0
    for found, n, seconds in points:
        x = max(0.0, found + 1.0 - knee)
        square = (base_0 + slope_0 * x) ** 2
        weight, y = n / square, seconds / square
        w += weight
        wx += weight * x
        wxx += weight * x * x
        wy += y
        wxy += x * seconds / square
    prior = SLOPE_PRIOR_CALLS / base_0**2
    wxx += prior
    wxy += prior * slope_0
    det = w * wxx - wx * wx
    if det <= 0.0:
        return _fit(points, base_0, slope_0, knee)
    base_s = (wxx * wy - wx * wxy) / det
    slope_s = (w * wxy - wx * wy) / det
    if slope_s < 0.0:
        base_s, slope_s = wy / w, 0.0
    elif base_s <= 0.0:
        base_s, slope_s = 0.0, wxy / wxx
    least_s = 0.02 * base_0
    return _fit(points, max(base_s, least_s), max(slope_s, least_s / knee), knee)


def _fit(points: Sequence[Point], base_s: float, slope_s: float, knee: float) -> _Fit:
    base_s, slope_s, knee = _within(base_s, _LEAST_S), _within(slope_s, _LEAST_SLOPE_S), float(knee)
    log = math.log
    loss = 0.0
    for found, n, seconds in points:
        beyond = found + 1.0 - knee
        expected_s = base_s + slope_s * beyond if beyond > 0.0 else base_s
        loss += n * log(expected_s) + seconds / expected_s
    return _Fit(loss, base_s, slope_s, knee)


def _least_loss(points: Sequence[Point]) -> float:
    """Return what no curve gets below: the loss of one that meets every point's mean."""
    return sum([n * (math.log(seconds / n) + 1.0) for _, n, seconds in points if n > 0.0])


def _within(value: float, least: float) -> float:
    return min(max(value, least), _MOST_S)
