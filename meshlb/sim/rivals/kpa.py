"""Knative's pod autoscaler (KPA) on concurrency.

Every 2 s: mean concurrency over a stable window of 60 s, and over a panic window of 6 s, each over
the target, rounded up; at most 1000 x and at least half of the ready pods. Panic begins when the
panic window wants twice the ready pods or more, and ends 60 s after it last did; in it the count
never falls. The target is 70 % of the container's concurrency, which is set to the slots of a
replica, as one does for such an engine. No tolerance, no delay on the way down. A stopped pod
waits 30 s, then until its last call has ended, 300 s at the most (the revision's time-out).
Source: knative.dev, "Autoscaling"; config-autoscaler, and knative/serving's SYSTEM.md.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from meshlb.sim.scale.autoscaler import Seen
from meshlb.sim.scale.fleet import Grace


@dataclass(frozen=True, slots=True)
class Params:
    """Documented defaults."""

    load: float | None = None
    """Calls in flight wanted of a pod; None: ``utilization`` of its slots."""
    utilization: float = 0.7
    stable_s: float = 60.0
    panic_part: float = 0.1
    """Length of the panic window, as a part of the stable one."""
    panic_threshold: float = 2.0
    max_scale_up: float = 1000.0
    max_scale_down: float = 2.0
    tick_s: float = 2.0
    min: int = 1
    max: int = 1000


class Kpa:
    """See above."""

    name = "kpa"
    grace = Grace(limit_s=300.0, least_s=30.0)

    def __init__(self, params: Params, slots: int) -> None:
        self._params = params
        self._load = params.utilization * slots if params.load is None else params.load
        self.interval_s = params.tick_s
        self._spent: deque[tuple[float, float]] = deque([(0.0, 0.0)])
        self._panic_at: float | None = None
        self._panic_most = 0

    def start(self, ready: int) -> None:
        """Begin in panic if there are several pods, so that they stay until data are there."""
        if ready > 1:
            self._panic_at = 0.0
            self._panic_most = ready

    def target(self, seen: Seen, now: float) -> int:
        """Return the replicas wanted."""
        params = self._params
        self._spent.append((now, seen.spent_s))
        while len(self._spent) > 2 and self._spent[1][0] <= now - params.stable_s:
            self._spent.popleft()
        stable = self._mean(params.stable_s)
        panic = self._mean(params.stable_s * params.panic_part)
        return min(max(self.wanted(seen.ready, stable, panic, now), params.min), params.max)

    def _mean(self, window_s: float) -> float:
        now, spent_s = self._spent[-1]
        begin, before_s = next(one for one in self._spent if one[0] >= now - window_s - 1e-9)
        return (spent_s - before_s) / (now - begin) if now > begin else 0.0

    def wanted(self, ready: int, stable: float, panic: float, now: float) -> int:
        """Return pods for mean concurrencies over both windows."""
        params = self._params
        ready = max(1, ready)
        most = math.ceil(params.max_scale_up * ready)
        least = math.floor(ready / params.max_scale_down)
        by_panic = math.ceil(panic / self._load)
        calm_count = min(max(math.ceil(stable / self._load), least), most)
        panic_count = min(max(by_panic, least), most)
        if by_panic / ready >= params.panic_threshold:
            self._panic_at = now
        elif self._panic_at is not None and self._panic_at + params.stable_s < now:
            self._panic_at = None
            self._panic_most = 0
        if self._panic_at is None:
            return calm_count
        self._panic_most = max(self._panic_most, calm_count, panic_count)
        return self._panic_most


def build(params: Params, slots: int) -> Kpa:
    """Return one for replicas with so many slots."""
    return Kpa(params, slots)
