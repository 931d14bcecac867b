"""What to simulate, and what came of it: plain values."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshlb.model import DEFAULT_PICKER, SpeedCurve
from meshlb.sim.nodes import SimNode, SlotNode

IDEAL = "ideal"
"""Instead of a picker's name: one mind that knows every count and speed at every instant, and
takes the node of the shortest expected delay (SED)."""


class Speeds(enum.Enum):
    """Where the speed curves in tables come from."""

    SLOTS = "slots"
    """Learned, with the nodes' slots declared."""
    LEARNED = "learned"
    """Learned, without."""
    TRUE = "true"
    NONE = "none"


def design_fleet() -> list[SimNode]:
    """Return 5 nodes of 40 ms, 2 of 80, 1 of 160, 4 slots each: 625 calls a second."""
    return [SlotNode(service_s, 4) for service_s in (0.04,) * 5 + (0.08,) * 2 + (0.16,)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Poisson arrivals, spread over clients at random, on a fleet with one controller."""

    picker: str = DEFAULT_PICKER
    rate: float = 440.0
    """Calls a second, all clients together."""
    clients: int = 16
    interval_s: float = 0.1
    """Clients report, and the controller publishes counts, so often; the mean age in use."""
    speeds: Speeds = Speeds.SLOTS
    counts: bool = True
    """Whether shares and counts reach the clients."""
    warm_up_s: float = 10.0
    measured_s: float = 60.0
    seed: int = 1
    fleet: Callable[[], Sequence[SimNode]] = design_fleet
    params: Any = None
    """Of the picker; None: its defaults."""
    unequal: bool = False
    """Client i calls in proportion to 1/i (Zipf) rather than all alike."""
    changes: Mapping[float, Callable[[Sequence[SimNode]], None]] = field(default_factory=dict)
    """Instant -> what happens to the nodes then."""
    table_s: float = 1.0
    """Tables are looked at so often."""
    delay_s: float = 0.005
    """From the controller's publishing to the client's taking in."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: calls that began after the warm-up and ended before the end."""

    latencies_s: tuple[float, ...]
    """Sorted."""
    calls: tuple[int, ...]
    """By node."""
    left: int
    """Calls in flight at the end: grows with the run's length if there are too many."""
    curves: tuple[SpeedCurve | None, ...]
    """Those of the last table, by node."""

    def quantile_s(self, part: float) -> float:
        """Return a quantile of the latencies, ``part`` in [0, 1)."""
        return self.latencies_s[int(part * len(self.latencies_s))]

    @property
    def mean_s(self) -> float:
        """The mean latency."""
        return math.fsum(self.latencies_s) / len(self.latencies_s)
