"""What one node should have, from its use: slots, cores, memory.

Cores for the 90th percentile of use, slots and memory for the 95th, and 15 % more, as Autopilot
(EuroSys 2020) and the vertical pod autoscaler do. Use is kept in histograms whose buckets grow by
5 %, and in which old use counts less (half after a day): O(1) memory a node, however long it runs.
A node never needs more slots than the learned curve says that it can keep busy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from meshlb.model import SpeedCurve
from meshlb.policy.scale_load import capacity, whole
from meshlb.scale_model import Resources

MARGIN = 0.15
CORES_QUANTILE, SLOTS_QUANTILE, MEMORY_QUANTILE = 0.90, 0.95, 0.95
HALF_LIFE_S = 86400.0
ENOUGH_S = 300.0
"""Use is told of after so long."""
MOST_GAP_S = 60.0
"""Use counts for the time since the last one, but no longer."""
_GROWTH = math.log(1.05)
_FADED = 60.0


@dataclass(frozen=True, slots=True)
class Use:
    """One node at one instant; None: not measured."""

    in_flight: float | None = None
    cpu_cores: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Has:
    """What one node has now; None: not declared, not known."""

    slots: int | None = None
    cpu_cores: float | None = None
    curve: SpeedCurve | None = None


class Histogram:
    """Seconds spent at each level of use, fading."""

    __slots__ = ("_at", "_levels", "_start", "span_s")

    def __init__(self) -> None:
        self._levels: dict[int | None, float] = {}
        """Bucket -> seconds, older ones less; None: nothing in use."""
        self._start: float | None = None
        self._at = 0.0
        self.span_s = 0.0
        """Time covered so far."""

    def add(self, value: float, now: float) -> None:
        """Take in that so much is in use since the last time."""
        if self._start is None:
            self._start = self._at = now
        elapsed_s = min(now - self._at, MOST_GAP_S)
        self._at = now
        if elapsed_s <= 0.0:
            return
        self.span_s += elapsed_s
        age = (now - self._start) / HALF_LIFE_S
        if age > _FADED:  # weights grow instead of the old ones fading; begin again from 1
            self._levels = {k: v * 2.0**-age for k, v in self._levels.items()}
            self._start, age = now, 0.0
        bucket = None if value <= 0.0 else math.ceil(math.log(value) / _GROWTH - 1e-9)
        self._levels[bucket] = self._levels.get(bucket, 0.0) + elapsed_s * 2.0**age

    def quantile(self, part: float) -> float | None:
        """Return the use that is not exceeded for that part of the time, within 5 %."""
        if self.span_s < ENOUGH_S:
            return None
        left = part * sum(self._levels.values())
        bucket: int | None = None
        for bucket in sorted(self._levels, key=lambda b: -math.inf if b is None else b):
            left -= self._levels[bucket]
            if left <= 0.0:
                break
        return 0.0 if bucket is None else math.exp(bucket * _GROWTH)


class UseHistory:
    """All nodes of one service. Written by one thread."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[Histogram, Histogram, Histogram]] = {}

    def observe(self, uses: Mapping[str, Use], now: float) -> None:
        """Take in what every node uses now; nodes that are left out are forgotten."""
        for node_id in self._nodes.keys() - uses.keys():
            del self._nodes[node_id]
        for node_id, use in uses.items():
            kept = self._nodes.get(node_id)
            if kept is None:
                kept = self._nodes[node_id] = (Histogram(), Histogram(), Histogram())
            values = (use.in_flight, use.cpu_cores, use.memory_bytes)
            for histogram, value in zip(kept, values, strict=True):
                if value is not None and math.isfinite(value):
                    histogram.add(value, now)

    def recommend(self, nodes: Mapping[str, Has]) -> tuple[Resources, ...]:
        """Return what each node should have, by node_id, after what a new one should have.

        A new one should have the most of what any is to have, since it will be used alike.
        """
        each = [self._one(node_id, has) for node_id, has in sorted(nodes.items())]
        if not each:
            return ()
        slots = [r.slots for r in each if r.slots is not None]
        cores = [r.cpu_cores for r in each if r.cpu_cores is not None]
        memory = [r.memory_bytes for r in each if r.memory_bytes is not None]
        new = Resources(
            node_id="",
            slots=max(slots, default=None),
            cpu_cores=max(cores, default=None),
            memory_bytes=max(memory, default=None),
            current_slots=None,
            current_cpu_cores=None,
            reason="the most that any node should have",
        )
        return (new, *each)

    def _one(self, node_id: str, has: Has) -> Resources:
        calls, cores, memory = self._nodes.get(node_id, (None, None, None))
        busy = None if calls is None else calls.quantile(SLOTS_QUANTILE)
        cpu = None if cores is None else cores.quantile(CORES_QUANTILE)
        held = None if memory is None else memory.quantile(MEMORY_QUANTILE)
        why = []
        slots = None
        if busy is not None:
            slots = max(1, math.ceil(busy * (1.0 + MARGIN)))
            why.append(f"95 % of the time {busy:.3g} in flight or less")
            if has.curve is not None and slots > (able := _able(has.curve)):
                slots = able
                why.append(f"more than {able} at once only wait")
        if cpu is not None:
            why.append(f"90 % of the time {cpu:.2g} cores or less")
        if held is not None:
            why.append(f"95 % of the time {held / 2**20:.0f} MiB or less")
        told = "; ".join(why) + f"; {MARGIN:.0%} more" if why else ""
        return Resources(
            node_id=node_id,
            slots=slots,
            cpu_cores=None if cpu is None else math.ceil(cpu * (1 + MARGIN) * 10) / 10,
            memory_bytes=None if held is None else math.ceil(held * (1 + MARGIN)),
            current_slots=has.slots,
            current_cpu_cores=has.cpu_cores,
            reason=told or f"fewer than {ENOUGH_S / 60:.0f} min of use known",
        )


def _able(curve: SpeedCurve) -> int:
    return whole(capacity(curve))
