"""The controller's part in routing: speeds learned, and tables for clients."""

from __future__ import annotations

from meshlb.model import TableNode
from meshlb.policy import hysteresis
from meshlb.policy.pooling import pooled
from meshlb.sim.scale.fleet import Fleet, Life, Node

PUBLISH_CHANGE = 0.05


class Tables:
    """What clients are told of the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._slots = fleet.params.slots
        self._membership = -1
        self.ready: list[Node] = []
        self.table: tuple[TableNode, ...] = ()
        self.version = 0

    @property
    def stale(self) -> bool:
        """Whether nodes came or went since."""
        return self._membership != self._fleet.membership

    def publish(self, now: float) -> None:
        """Give clients the nodes that there are now."""
        self._membership = self._fleet.membership
        self.ready = list(self._fleet.live(Life.READY))
        self.table = self._told(now)
        self.version += 1

    def learn(self, now: float, elapsed_s: float) -> None:
        """Learn speeds from what passed in that time, and publish them if they moved."""
        for node in self._fleet.live(Life.READY):
            node.spend(now)
            node.learner.observe_flow(node.spent_s / elapsed_s, node.spent_s, node.ended, now)
            node.spent_s, node.ended = 0.0, 0
        if self.stale:
            self.publish(now)
            return
        table = self._told(now)
        if hysteresis.figures_moved(self.table, table, PUBLISH_CHANGE):
            self.table = table
            self.version += 1

    def _told(self, now: float) -> tuple[TableNode, ...]:
        curves = pooled(
            {node.node_id: node.learner.curve(now, self._slots) for node in self.ready},
            {node.node_id: node.learner.calls for node in self.ready},
        )
        return tuple(node.table_node(curves[node.node_id], self._slots) for node in self.ready)
