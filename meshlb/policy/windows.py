"""What a service's signals were over two sliding windows, in ring buckets: O(1) memory and time.

Each reading counts for the time since the one before. The stable mean is plain; in the panic mean
newer readings count more (linearly, to nothing at the window's end), so that a step shows within a
fraction of the window. A window that has just begun is a mean over what there is, since time
without a reading is unknown, not zero. Nodes that are missing count like the mean of the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from meshlb.scale_model import ADDITIVE, LATENCIES, Observed, Reading

STABLE_BUCKETS = 60
PANIC_BUCKETS = 12
LEAST_BUCKETS = 20
"""Growth and variance are told from so many buckets with readings on."""

CLEAR_TREND = 0.7
"""A trend is told where it explains this part of the scatter of the buckets; else it is 0."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Every signal over the windows; fields as in ``Inputs``."""

    signals: Mapping[str, Observed]
    growth: Mapping[str, float]
    variance: Mapping[str, float]


class _Bucket:
    __slots__ = ("index", "nodes", "seconds", "squares", "total")

    def __init__(self, index: int) -> None:
        self.index = index
        self.seconds = self.total = self.squares = self.nodes = 0.0


class Window:
    """One figure over one sliding window of ``span_s`` seconds."""

    __slots__ = (
        "_closed", "_count", "_trends", "_width", "buckets", "growth", "variance",
    )  # fmt: skip

    def __init__(self, span_s: float, count: int, *, trends: bool = False) -> None:
        self._count = count
        self._width = span_s / count
        self._trends = trends
        self._closed = _Bucket(0)
        """All buckets but the newest, added up: once a bucket, not a tick."""
        self.buckets: deque[_Bucket] = deque()
        self.growth: float | None = None
        """Rise a second, by least squares; 0: none that stands out; None: too little is known."""
        self.variance: float | None = None

    def add(self, value: float, nodes: int, elapsed_s: float, now: float) -> None:
        """Take a value in that held for ``elapsed_s``; a gap counts one bucket at the most."""
        index = math.floor(now / self._width)
        buckets = self.buckets
        if not buckets or buckets[-1].index != index:
            buckets.append(_Bucket(index))
            self._drop(index)
            self._close()
        newest = buckets[-1]
        seconds = min(max(elapsed_s, 1e-3 * self._width), self._width)
        newest.seconds += seconds
        newest.total += value * seconds
        newest.squares += value * value * seconds
        newest.nodes += nodes * seconds

    def advance(self, now: float) -> None:
        """Let go of what is older than the window."""
        if self._drop(math.floor(now / self._width)):
            self._close()

    def mean(self) -> float | None:
        """Return the mean over the window; None without readings."""
        if not self.buckets:
            return None
        newest, closed = self.buckets[-1], self._closed
        return (closed.total + newest.total) / (closed.seconds + newest.seconds)

    def mean_a_node(self) -> float | None:
        """Return the mean over the window and its nodes; None without readings or nodes."""
        if not self.buckets:
            return None
        newest, closed = self.buckets[-1], self._closed
        nodes = closed.nodes + newest.nodes
        return (closed.total + newest.total) / nodes if nodes > 0.0 else None

    def recent_mean(self, now: float) -> float | None:
        """Return the mean in which newer readings count more; None without readings."""
        width = self._width
        fade = 1.0 / (width * self._count)
        total = weights = 0.0
        for bucket in self.buckets:
            start = bucket.index * width
            end = start + width
            age = now - 0.5 * (start + (min(now, end)))
            weight = 1.0 - age * fade
            if weight > 0.0:
                weights += weight * bucket.seconds
                total += weight * bucket.total
        return total / weights if weights > 0.0 else None

    def _drop(self, index: int) -> bool:
        oldest = index - self._count
        dropped = False
        while self.buckets and self.buckets[0].index <= oldest:
            self.buckets.popleft()
            dropped = True
        return dropped

    def _close(self) -> None:
        closed = self._closed = _Bucket(0)
        points = []
        for bucket in self.buckets:
            closed.seconds += bucket.seconds
            closed.total += bucket.total
            closed.squares += bucket.squares
            closed.nodes += bucket.nodes
            points.append(bucket)
        if not points:
            self.growth = self.variance = None
            return
        newest = points.pop()
        closed.seconds -= newest.seconds
        closed.total -= newest.total
        closed.squares -= newest.squares
        closed.nodes -= newest.nodes
        if not self._trends:
            return
        if len(points) < LEAST_BUCKETS:
            self.growth = self.variance = None
            return
        mean = closed.total / closed.seconds
        self.variance = max(0.0, closed.squares / closed.seconds - mean * mean)
        self.growth = _slope(points, self._width, mean)


class _Signal:
    __slots__ = ("at", "last", "measured", "missing", "panic", "stable")

    def __init__(self, stable_s: float, panic_s: float, *, trends: bool) -> None:
        self.stable = Window(stable_s, STABLE_BUCKETS, trends=trends)
        self.panic = Window(panic_s, PANIC_BUCKETS)
        self.last: float | None = None
        self.at: float | None = None
        self.measured = self.missing = 0


class SignalHistory:
    """All signals of one service."""

    __slots__ = ("_panic_s", "_signals", "_stable_s")

    def __init__(self, stable_s: float, panic_s: float) -> None:
        self._stable_s = stable_s
        self._panic_s = panic_s
        self._signals: dict[str, _Signal] = {}

    def observe(self, readings: Mapping[str, Reading], now: float) -> None:
        """Take one tick's readings in; a signal that is left out ages."""
        for name, reading in readings.items():
            signal = self._signals.get(name)
            if signal is None:
                signal = self._signals[name] = _Signal(
                    self._stable_s, self._panic_s, trends=name in ADDITIVE
                )
            signal.measured, signal.missing = reading.measured, reading.missing
            total = reading.total
            if total is None or not math.isfinite(total):
                signal.last = None
                continue
            nodes = 1
            if name not in LATENCIES and reading.measured > 0:
                nodes = reading.measured + reading.missing
                total *= nodes / reading.measured
            signal.last = total
            elapsed_s = 0.0 if signal.at is None else now - signal.at
            signal.at = now
            signal.stable.add(total, nodes, elapsed_s, now)
            signal.panic.add(total, nodes, elapsed_s, now)
        for name, signal in self._signals.items():
            if name not in readings:
                signal.last = None

    def seen(self, now: float) -> Seen:
        """Return what the windows hold now."""
        signals: dict[str, Observed] = {}
        growth: dict[str, float] = {}
        variance: dict[str, float] = {}
        for name, signal in self._signals.items():
            stable, panic = signal.stable, signal.panic
            if signal.at != now:
                stable.advance(now)
                panic.advance(now)
            signals[name] = Observed(
                stable=stable.mean(),
                panic=panic.recent_mean(now),
                last=signal.last,
                mean=stable.mean_a_node(),
                measured=signal.measured,
                missing=signal.missing,
            )
            if signal.stable.growth is not None and signal.stable.variance is not None:
                growth[name] = signal.stable.growth
                variance[name] = signal.stable.variance
        return Seen(signals, growth, variance)


def _slope(points: list[_Bucket], width: float, mean: float) -> float:
    """Return the slope of the line of least squares; 0 if the line explains too little."""
    middle = sum(bucket.index for bucket in points) / len(points)
    across = along = both = level = 0.0
    for bucket in points:
        at = bucket.index - middle
        value = bucket.total / bucket.seconds - mean
        across += at * at
        along += value * value
        both += at * value
        level += value
    along -= level * level / len(points)
    if along <= 0.0 or both * both < CLEAR_TREND * across * along:
        return 0.0
    return both / across / width
