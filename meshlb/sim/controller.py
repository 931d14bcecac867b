"""The controller's part in a simulation: counts, shares, learned speeds and tables.

Clients report at the same pace but out of step with each other, so the controller's counts mix
ages as real ones do. Speeds are learned by the controller's own ``SpeedLearner``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from meshlb.model import SpeedCurve, TableNode
from meshlb.policy import hysteresis
from meshlb.policy.client_record import PRIOR_CALLS, SHARE_SMOOTH_S
from meshlb.policy.pooling import pooled
from meshlb.policy.speed import SpeedLearner
from meshlb.sim.client import SimClient
from meshlb.sim.nodes import SimNode
from meshlb.sim.scenario import Scenario, Speeds

PUBLISH_CHANGE = 0.05


class SimController:
    """Written by the simulation at the instants that a real controller would hear of things."""

    def __init__(
        self, scenario: Scenario, nodes: Sequence[SimNode], clients: Sequence[SimClient]
    ) -> None:
        self._scenario = scenario
        self._nodes = nodes
        self._clients = clients
        self._learners = [SpeedLearner() for _ in nodes]
        self._smoothed = 0.0
        self._keep = math.exp(-scenario.interval_s / SHARE_SMOOTH_S)
        self.in_flight = [0] * len(nodes)
        """Calls by node, as reported."""
        self.ended = [0] * len(nodes)
        """Calls that ended since the last tick."""
        self.spent_s = [0.0] * len(nodes)
        """Calls in flight summed over the time since the last tick."""
        self.version = 0
        self.table = self._table(0.0)

    def count(self, now: float) -> list[int]:
        """Learn from the counts and return them, to be published."""
        interval_s = self._scenario.interval_s
        for learner, spent_s, ended in zip(self._learners, self.spent_s, self.ended, strict=True):
            learner.observe_flow(spent_s / interval_s, spent_s, ended, now)
        self.ended = [0] * len(self._nodes)
        self.spent_s = [0.0] * len(self._nodes)
        keep = self._keep
        self._smoothed = keep * self._smoothed + (1.0 - keep) * sum(self.in_flight)
        if self._scenario.counts:
            for client in self._clients:
                client.smoothed = keep * client.smoothed + (1.0 - keep) * client.load.in_flight
        return list(self.in_flight)

    def share(self, client: SimClient) -> float:
        """Return a client's part of all calls, as ``policy.client_record`` does."""
        own = client.smoothed
        every = max(own, self._smoothed) + PRIOR_CALLS * len(self._clients)
        return min(1.0, (own + PRIOR_CALLS) / every)

    def look(self, now: float) -> None:
        """Make a new table if the figures moved enough."""
        table = self._table(now)
        if hysteresis.figures_moved(self.table, table, PUBLISH_CHANGE):
            self.table = table
            self.version += 1

    def _table(self, now: float) -> tuple[TableNode, ...]:
        declared = self._scenario.speeds in (Speeds.SLOTS, Speeds.TRUE)
        slots = [node.slots if declared else None for node in self._nodes]
        curves = self._curves(slots, now)
        known = [1.0 / curve.slope_s for curve in curves if curve is not None]
        mean = sum(known) / len(known) if known else 1.0
        return tuple(
            TableNode(
                node_id=f"n{index}",
                incarnation=1,
                address=f"n{index}:1",
                weight=1.0 if curve is None else 1.0 / curve.slope_s / mean,
                curve=curve,
                slots=slots[index],
            )
            for index, curve in enumerate(curves)
        )

    def _curves(self, slots: list[int | None], now: float) -> list[SpeedCurve | None]:
        if self._scenario.speeds is Speeds.NONE:
            return [None] * len(self._nodes)
        if self._scenario.speeds is Speeds.TRUE:
            return [node.curve() for node in self._nodes]
        learned = zip(self._learners, slots, strict=True)
        found = pooled(
            {str(i): learner.curve(now, declared) for i, (learner, declared) in enumerate(learned)},
            {str(i): learner.calls for i, learner in enumerate(self._learners)},
        )
        return list(found.values())
