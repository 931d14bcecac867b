"""Looks at all nodes of one client a few dozen times a second, and judges them by their calls.

Called under the lock of the counts; what takes long, logging and probing, is left to the caller.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from meshlb.client.node import Node
from meshlb.policy import outlier
from meshlb.policy.overdue import Latencies

log = logging.getLogger("meshlb.client")

LOOK_S, IDLE_LOOK_S = 0.025, 0.1
"""Time between looks while calls are in flight, and while there are none."""
DEAF_S = 0.25
"""A look that comes so late was held up, and so were the answers."""
WINDOW_S = 10.0
"""Over which the parts of calls that fail are compared (gRFC A50)."""


@dataclass(slots=True)
class Found:
    """What came of one look."""

    changed: bool = False
    """Picks are to be made anew."""
    told: list[tuple[Node, str]] = field(default_factory=list)
    """Nodes whose standing changed, and why."""
    silent: list[tuple[Node, Any]] = field(default_factory=list)
    """Nodes that are to be asked for their health now, and their links."""


class Judgement:
    """What is kept from look to look, of all nodes together."""

    def __init__(self) -> None:
        self._latencies = Latencies()
        self.looked_at = 0.0
        self._window_at = 0.0
        self._window: dict[Node, tuple[int, int]] = {}
        """Calls that nodes had answered, and failed, when the window began."""

    def look(self, nodes: Collection[Node], now: float, rng: random.Random) -> Found:
        """Bring every node's standing up to now."""
        found = Found()
        since_s, self.looked_at = now - self.looked_at, now
        deaf = since_s > DEAF_S
        for node in nodes:
            standing = node.standing
            shut, most = standing.shut, standing.most
            if node.look(now, since_s, self._latencies, rng, deaf=deaf):
                found.changed = True
                if standing.shut is not shut or (standing.most is None) is not (most is None):
                    found.told.append((node, standing.reason))
            if standing.shut and node.wants_probe(now):
                found.silent.append((node, node.link))
        if now - self._window_at >= WINDOW_S:
            outlying = self._compare(nodes, now, rng)
            found.told += outlying
            found.changed = found.changed or bool(outlying)
        return found

    def _compare(
        self, nodes: Collection[Node], now: float, rng: random.Random
    ) -> list[tuple[Node, str]]:
        """Shut nodes that failed far more calls in the window than the others; begin another."""
        ended = {}
        by_id = {}
        for node in nodes:
            good, failed = self._window.get(node, (node.good, node.failed))
            ended[node.info.node_id] = (node.good - good, node.failed - failed)
            by_id[node.info.node_id] = node
        self._window = {node: (node.good, node.failed) for node in nodes}
        self._window_at = now
        return [
            (by_id[node_id], reason)
            for node_id, reason in outlier.outliers(ended, outlier.Params()).items()
            if by_id[node_id].standing.outlying(reason, now, rng)
        ]


def tell(node: Node, reason: str) -> None:
    """Say in the log what became of a node's standing."""
    what = "is in order again"
    if node.standing.shut:
        what = f"is left alone: {reason}"
    elif reason:
        what = f"is tried again: {reason}"
    log.info("node %s (%s) %s", node.info.node_id, node.info.address, what)
