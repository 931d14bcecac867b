"""Ray Serve's default policy: ongoing requests over a target.

Ongoing requests are recorded every 10 s, and averaged over the last 30 s; 2 are wanted of a
replica. Ten times a second: total / target, rounded up. Upwards this must hold for 30 s without
interruption, downwards for 600 s; the count wanted at the end of that time is taken. A stopped
replica is killed after 20 s. Of Ray's limit of ongoing requests a replica nothing is modelled:
here all autoscalers have the same routing. Source: docs.ray.io, "Ray Serve Autoscaling" and
"Advanced Ray Serve Autoscaling".
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

    load: float = 2.0
    """Ongoing requests wanted of a replica."""
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    metrics_interval_s: float = 10.0
    look_back_s: float = 30.0
    loop_s: float = 0.1
    min: int = 1
    max: int = 1000


class Ray:
    """See above. Decides once a second, and counts the loops between."""

    name = "ray"
    grace = Grace(limit_s=20.0)
    interval_s = 1.0

    def __init__(self, params: Params) -> None:
        self._params = params
        self._records: deque[tuple[float, int]] = deque()
        self._loops = 0
        """Loops in a row that wanted more, or, below zero, less."""

    def start(self, ready: int) -> None:
        """Nothing to do."""

    def target(self, seen: Seen, now: float) -> int:
        """Return the replicas wanted."""
        params = self._params
        if now % params.metrics_interval_s < self.interval_s:
            self._records.append((now, seen.in_flight))
        while self._records and self._records[0][0] <= now - params.look_back_s:
            self._records.popleft()
        if not self._records:
            return seen.target
        total = sum(count for _, count in self._records) / len(self._records)
        return self.settle(self.desired(seen.ready, total), seen.target, self.interval_s)

    def desired(self, running: int, total: float) -> int:
        """Return replicas by the load, before any delay."""
        params = self._params
        delta = total / params.load - running
        factor = params.upscaling_factor if delta > 0.0 else params.downscaling_factor
        wanted = math.ceil(running + factor * delta - 1e-9)
        if math.ceil(running + delta - 1e-9) < running == wanted:
            wanted -= 1  # a small factor must not hold it for ever
        return min(max(wanted, params.min), params.max)

    def settle(self, desired: int, target: int, elapsed_s: float) -> int:
        """Return the target after the delays, ``elapsed_s`` after the last time."""
        params = self._params
        loops = round(elapsed_s / params.loop_s)
        if desired == target:
            self._loops = 0
            return target
        if desired > target:
            self._loops = max(0, self._loops) + loops
            enough = self._loops > int(params.upscale_delay_s / params.loop_s)
        else:
            self._loops = min(0, self._loops) - loops
            enough = -self._loops > int(params.downscale_delay_s / params.loop_s)
        if not enough:
            return target
        self._loops = 0
        return desired


def build(params: Params, slots: int) -> Ray:  # noqa: ARG001
    """Return one; the slots of a replica do not matter to it."""
    return Ray(params)
