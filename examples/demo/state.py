"""What the screens show: all that is known of a run at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from examples.demo.options import Options
from examples.demo.tally import Tally

MESHLB, ROUND_ROBIN = "meshlb", "round_robin"
BALANCERS = (MESHLB, ROUND_ROBIN)


@dataclass
class Known:
    """What the controller says of one node; None: not known."""

    state: str
    reason: str = ""
    weight: float | None = None
    base_s: float | None = None
    """Learned latency of a call that finds the node idle."""
    slope_s: float | None = None
    """Learned latency that each further call in flight adds."""


@dataclass
class Fleet:
    """One fleet of servers and what became of its calls."""

    balancer: str
    tally: Tally = field(default_factory=Tally)
    in_flight: dict[str, int] = field(default_factory=dict)
    """Calls in each server now, waiting ones included, as the servers count them."""


@dataclass
class Run:
    """One run."""

    options: Options
    names: tuple[str, ...]
    load: str
    """The load in words."""
    planned: int
    """Calls that each fleet gets in all."""
    fleets: dict[str, Fleet] = field(default_factory=lambda: {b: Fleet(b) for b in BALANCERS})
    known: dict[str, Known] = field(default_factory=dict)
    events: dict[str, tuple[float, str]] = field(default_factory=dict)
    """When something was first seen, and its newest wording, by what it is about."""
    killed: str | None = None
    elapsed_s: float = 0.0
    over: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the figures: those of meshlb, and under ``round_robin`` those to compare with."""
        options = self.options
        return {
            **self._fleet_json(MESHLB),
            ROUND_ROBIN: self._fleet_json(ROUND_ROBIN),
            "engine": options.engine,
            "load": self.load,
            "seconds": options.seconds,
            "seed": options.seed,
            "killed": self.killed,
        }

    def _fleet_json(self, balancer: str) -> dict[str, Any]:
        tally = self.fleets[balancer].tally
        total, by_node = tally.total(), tally.by_node()
        nodes = []
        for name, speed in zip(self.names, self.options.speeds, strict=True):
            figures = by_node.get(name)
            entry: dict[str, Any] = {"node": name, "speed": speed, "killed": name == self.killed}
            entry["share"] = figures.calls / total.calls if figures else 0.0
            nodes.append(entry | (figures.as_json() if figures else {"calls": 0}))
        return {**total.as_json(), "nodes": nodes}
