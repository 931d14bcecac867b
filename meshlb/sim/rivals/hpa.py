"""Kubernetes HorizontalPodAutoscaler on the mean of calls in flight, a custom metric of pods.

Every 15 s: replicas x mean / target, rounded up, unless the ratio is within 10 % of 1. Pods that
are not ready count as idle ones on the way up, and if that turns the direction nothing is done.
Down: the greatest recommendation of the last 300 s. Up: at most 4 pods or 100 % in 15 s, whichever
is more. There is no default target for a custom metric; 80 % of a pod's slots stands for the 80 %
of CPU that is the default of autoscaling/v2. The metric is the mean over the last period. Stopped
pods get a grace of 30 s. Source: kubernetes.io, "Horizontal Pod Autoscaling" and API reference.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from meshlb.sim.scale.autoscaler import Seen
from meshlb.sim.scale.fleet import Grace

TARGET = 0.8


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one direction: within ``period_s`` the greater of these changes is allowed."""

    pods: int | None
    part: float | None
    period_s: float = 15.0
    window_s: float = 0.0
    """Recommendations within it are weighed: the least one counts upwards, the most downwards."""


@dataclass(frozen=True, slots=True)
class Params:
    """Documented defaults."""

    load: float | None = None
    """Mean calls in flight wanted of a pod; None: 80 % of its slots."""
    tolerance: float = 0.1
    sync_s: float = 15.0
    up: Limits = Limits(pods=4, part=1.0)
    down: Limits = Limits(pods=None, part=1.0, window_s=300.0)
    min: int = 1
    max: int = 1000


class Hpa:
    """See above."""

    name = "hpa"
    grace = Grace(limit_s=30.0)

    def __init__(self, params: Params, slots: int) -> None:
        self._params = params
        self._load = TARGET * slots if params.load is None else params.load
        self.interval_s = params.sync_s
        self._spent_s = 0.0
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: list[tuple[float, int]] = []

    def start(self, ready: int) -> None:
        """Begin; the count there is is the first recommendation."""
        self._recommended.append((0.0, ready))

    def target(self, seen: Seen, now: float) -> int:
        """Return the replicas wanted."""
        total = (seen.spent_s - self._spent_s) / self.interval_s
        self._spent_s = seen.spent_s
        current = seen.ready + seen.starting
        wanted = self.recommend(current, seen.ready, total)
        target = self.settle(current, wanted, now)
        if target != current:
            self._changes.append((now, target - current))
        return target

    def recommend(self, current: int, ready: int, total: float) -> int:
        """Return replicas by the metric: ``total`` over the ready ones of ``current``."""
        if not ready:
            return current
        ratio = total / ready / self._load
        if current > ready and ratio > 1.0:
            damped = total / current / self._load
            wanted = math.ceil(damped * current - 1e-9)
            if damped <= 1.0 + self._params.tolerance or wanted < current:
                return current
            return wanted
        if abs(ratio - 1.0) <= self._params.tolerance:
            return current
        return math.ceil(ratio * ready - 1e-9)

    def settle(self, current: int, wanted: int, now: float) -> int:
        """Return the target after stabilization, rates and bounds."""
        params = self._params
        recommended = self._recommended
        recommended.append((now, wanted))
        longest = max(params.up.window_s, params.down.window_s)
        while recommended[0][0] < now - longest:
            recommended.popleft()
        low = min(n for at, n in recommended if at >= now - params.up.window_s)
        high = max(n for at, n in recommended if at >= now - params.down.window_s)
        target = min(max(current, low), high)
        if target > current:
            target = min(target, self._most(current, now))
        elif target < current:
            target = max(target, self._least(current, now))
        return min(max(target, params.min), params.max)

    def _before(self, limits: Limits, current: int, now: float, way: int) -> int:
        """Return the replicas at the begin of the period, changes of that way undone."""
        recent = [by for at, by in self._changes if at > now - limits.period_s and by * way > 0]
        return current - sum(recent)

    def _most(self, current: int, now: float) -> int:
        limits = self._params.up
        before = self._before(limits, current, now, 1)
        allowed = [current]
        if limits.pods is not None:
            allowed.append(before + limits.pods)
        if limits.part is not None:
            allowed.append(math.ceil(before * (1.0 + limits.part) - 1e-9))
        return max(allowed)

    def _least(self, current: int, now: float) -> int:
        limits = self._params.down
        before = self._before(limits, current, now, -1)
        allowed = [current]
        if limits.pods is not None:
            allowed.append(before - limits.pods)
        if limits.part is not None:
            allowed.append(before - math.ceil(before * limits.part - 1e-9))
        return min(allowed)


def build(params: Params, slots: int) -> Hpa:
    """Return one for replicas with so many slots."""
    return Hpa(params, slots)
