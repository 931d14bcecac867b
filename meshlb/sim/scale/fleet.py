"""Simulated replicas: their lives, their calls and their bills."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from meshlb.model import SpeedCurve, TableNode
from meshlb.policy.speed import SpeedLearner
from meshlb.sim.scale.engine import Engine, EngineParams


class Life(enum.Enum):
    """Where a replica is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Grace:
    """How long a draining replica lives."""

    limit_s: float | None = None
    """Then it is killed with all that it serves; None: when its last call has ended."""
    least_s: float = 0.0
    """It is not stopped before, idle or not."""


class Node:
    """One replica. Billed from its order until it is gone."""

    __slots__ = (
        "_count_before", "_counted_in", "_spent_at", "drain_since", "ended", "engine", "in_flight",
        "learner", "life", "number", "ordered_at", "ready_at", "spent_s", "stopped_at",
    )  # fmt: skip

    def __init__(self, number: int, params: EngineParams, ordered_at: float) -> None:
        self.number = number
        self.engine = Engine(params)
        self.life = Life.STARTING
        self.ordered_at = ordered_at
        self.ready_at: float | None = None
        self.drain_since: float | None = None
        self.stopped_at: float | None = None
        self.in_flight = 0
        self.spent_s = 0.0
        """Calls in flight summed over time."""
        self.ended = 0
        self.learner = SpeedLearner()
        self._spent_at = ordered_at
        self._counted_in = -1
        self._count_before = 0

    @property
    def node_id(self) -> str:
        """Its name in tables."""
        return f"n{self.number}"

    def spend(self, now: float) -> None:
        """Bring ``spent_s`` up to now."""
        self.spent_s += self.in_flight * (now - self._spent_at)
        self._spent_at = now

    def change(self, by: int, now: float, count: int) -> None:
        """Add to the calls in flight; ``count`` numbers the controller's last count of them."""
        self.spent_s += self.in_flight * (now - self._spent_at)
        self._spent_at = now
        if self._counted_in != count:
            self._counted_in, self._count_before = count, self.in_flight
        self.in_flight += by

    def counted(self, count: int) -> int:
        """Return the calls in flight when that count was made, the last one."""
        return self._count_before if self._counted_in == count else self.in_flight

    def billed_s(self, end_s: float) -> float:
        """Return the node-seconds up to then."""
        until = end_s if self.stopped_at is None else min(end_s, self.stopped_at)
        return max(0.0, until - self.ordered_at)

    def table_node(self, curve: SpeedCurve | None, slots: int) -> TableNode:
        """Return what clients are told."""
        return TableNode(
            node_id=self.node_id,
            incarnation=1,
            address=f"{self.node_id}:1",
            curve=curve,
            slots=slots,
        )


class Fleet:
    """All replicas there have ever been."""

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        self.nodes: list[Node] = []
        self.alive: list[Node] = []
        """Those that are not gone, a few that are since the last ``bury`` left aside."""
        self.membership = 0
        """Grows when a replica becomes ready or is withdrawn."""

    def order(self, now: float, *, ready: bool = False) -> Node:
        """Add a replica, billed from now."""
        node = Node(len(self.nodes), self.params, now)
        self.nodes.append(node)
        self.alive.append(node)
        if ready:
            self.make_ready(node, now)
        return node

    def make_ready(self, node: Node, now: float) -> None:
        """Let it serve."""
        node.life = Life.READY
        node.ready_at = now
        self.membership += 1

    def withdraw(self, node: Node, now: float) -> None:
        """Send no more calls there."""
        node.life = Life.DRAINING
        node.drain_since = now
        self.membership += 1

    def restore(self, node: Node) -> None:
        """Let a draining replica serve again."""
        node.life = Life.READY
        node.drain_since = None
        self.membership += 1

    def stop(self, node: Node, now: float) -> None:
        """End its life and its bill."""
        node.spend(now)
        node.life = Life.GONE
        node.stopped_at = now

    def live(self, life: Life) -> Iterator[Node]:
        """Yield those in that state, oldest first."""
        return (node for node in self.alive if node.life is life)

    def bury(self) -> None:
        """Look no more at those that are gone."""
        self.alive = [node for node in self.alive if node.life is not Life.GONE]

    def mean_curve(self, now: float, slots: int) -> SpeedCurve | None:
        """Return the mean ready node: base and knee, mean capacity; None if none is learned."""
        found = [node.learner.curve(now, slots) for node in self.live(Life.READY)]
        known = [curve for curve in found if curve is not None]
        if not known:
            return None
        capacity = sum(1.0 / curve.slope_s for curve in known) / len(known)
        return SpeedCurve(
            sum(curve.base_s for curve in known) / len(known),
            1.0 / capacity,
            sum(curve.knee for curve in known) / len(known),
        )
