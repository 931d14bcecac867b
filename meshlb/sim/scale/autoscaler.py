"""What the simulation asks of an autoscaler, meshlb's own and its rivals alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meshlb.model import SpeedCurve
from meshlb.sim.scale.fleet import Fleet, Grace


@dataclass(frozen=True, slots=True)
class Seen:
    """What an autoscaler can know of the service at one instant."""

    ready: int
    starting: int
    draining: int
    target: int
    """Replicas wanted by its last decision."""
    in_flight: int
    """Calls at ready nodes, in line there included, and calls that wait because there is none."""
    draining_in_flight: int
    """Calls at draining nodes, not among these."""
    spent_s: float
    """``in_flight`` summed over time since the start; differences give exact means."""
    begun: int
    """Calls since the start."""
    queued: int
    """Of those in flight, the ones that no slot serves yet."""
    waiting: int
    """Of these, the ones without a node."""
    start_up_s: float
    curve: SpeedCurve | None
    """The mean ready node, as learned."""


class Autoscaler(Protocol):
    """Says how many replicas there should be."""

    name: str
    interval_s: float
    """Between two decisions."""
    grace: Grace

    def start(self, ready: int) -> None:
        """Begin with so many replicas, ready."""

    def target(self, seen: Seen, now: float) -> int:
        """Return the number of replicas wanted. Called every ``interval_s``, first at that time."""


class Chooser(Protocol):
    """An autoscaler that also says which replicas; others lose the newest first."""

    def choose(self, fleet: Fleet, target: int, now: float) -> tuple[int, list[int], list[int]]:
        """Return how many to start, numbers of those to withdraw, and of those to restore."""
