"""What came of a simulation, and the figures made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from meshlb.policy import flapping
from meshlb.sim.scale.engine import Call


class Moment(NamedTuple):
    """The service at one instant."""

    at_s: float
    target: int
    ready: int
    starting: int
    draining: int
    in_flight: int


def in_time(call: Call) -> bool:
    """Return whether a call ended within its limit."""
    return call.done_at is not None and call.done_at - call.arrived <= call.limit_s


@dataclass(slots=True)
class Outcome:
    """One autoscaler on one trace."""

    name: str
    end_s: float
    calls: Sequence[Call]
    """All of them, in order of arrival."""
    node_seconds: float = 0.0
    """Billed from each order to start until the replica is gone, or the trace ends."""
    broken: int = 0
    """Calls cut off because their node was stopped."""
    targets: list[tuple[float, int]] = field(default_factory=list)
    """When the target changed, and to what."""
    moments: list[Moment] = field(default_factory=list)

    @property
    def attainment(self) -> float:
        """Part of all calls that were in time; broken ones were not."""
        return sum(map(in_time, self.calls)) / len(self.calls)

    def by_minute(self) -> dict[int, float]:
        """Return the part of the calls of each minute that were in time."""
        counts: dict[int, list[int]] = {}
        for call in self.calls:
            count = counts.setdefault(int(call.arrived // 60), [0, 0])
            count[0] += 1
            count[1] += in_time(call)
        return {minute: good / every for minute, (every, good) in sorted(counts.items())}

    def quantile_s(self, part: float) -> float | None:
        """Return a quantile of the latencies of calls that ended; None if none did."""
        latencies = sorted(c.done_at - c.arrived for c in self.calls if c.done_at is not None)
        if not latencies:
            return None
        return latencies[min(len(latencies) - 1, int(part * len(latencies)))]

    @property
    def reversals(self) -> int:
        """Changes of the target against the last one, within ``flapping.WITHIN_S`` of it."""
        return flapping.reversals(self.targets)

    def most_reversals(self, within_s: float = flapping.WITHIN_S) -> int:
        """Return the greatest number of turns in any span of that length."""
        turns = []
        way = 0
        for (_, before), (at, after) in pairwise(self.targets):
            now = 1 if after > before else -1
            if way == -now:
                turns.append(at)
            way = now
        return max((sum(at <= t < at + within_s for t in turns) for at in turns), default=0)

    def figures(self) -> dict[str, float | int | None]:
        """Return what comparisons show."""
        p99_s = self.quantile_s(0.99)
        return {
            "attainment": self.attainment,
            "node_seconds": self.node_seconds,
            "p99_ms": None if p99_s is None else 1e3 * p99_s,
            "reversals": self.reversals,
            "broken_streams": self.broken,
        }
