"""Callers that pick with the real pickers, over nodes that come and go.

Each client counts its own calls; what the controller counted of all others reaches it at a steady
pace. Counts are taken in when the next call needs them, which gives the same picks as taking each
in when it comes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from meshlb.model import TableNode
from meshlb.policy.client_record import PRIOR_CALLS, SHARE_SMOOTH_S
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad
from meshlb.policy.pickers import Picker
from meshlb.sim.scale.fleet import Node

INTERVAL_S = 0.1
"""Between the controller's counts."""


class Client:
    """One caller."""

    __slots__ = (
        "_applied", "_counted_in", "_loads", "_module", "_nodes", "_own_before", "_params",
        "_picker", "_rng", "_share_at", "_smooth", "_smooth_all", "_version", "clients", "load",
    )  # fmt: skip

    def __init__(self, module: ModuleType, params: Any, rng: random.Random, clients: int) -> None:
        self._module = module
        self._params = params
        self._rng = rng
        self._picker: Picker | None = None
        self._version = -1
        self._nodes: list[Node] = []
        self._loads: dict[int, NodeLoad] = {}
        self._own_before: dict[int, int] = {}
        """Own calls by node at the controller's last count, where they changed since."""
        self._counted_in = -1
        self._applied = -1
        self._share_at = 0.0
        self._smooth = self._smooth_all = 0.0
        self.clients = clients
        self.load = ClientLoad()

    def pick(
        self,
        nodes: Sequence[Node],
        table: Sequence[TableNode],
        version: int,
        now: float,
        in_flight: int,
    ) -> Node:
        """Return where to send the next call; ``in_flight``: of all clients, for the share."""
        count = int(now / INTERVAL_S)
        if version != self._version or self._picker is None:
            self._take(nodes, table)
            self._version = version
            self._applied = -1
        if self.clients > 1 and count != self._applied:
            self._apply(count, now, in_flight)
        assert self._picker is not None
        return self._nodes[self._picker.pick(now)]

    def change(self, node: int, by: int, now: float) -> None:
        """Count an own call at a node that begins or ends."""
        count = int(now / INTERVAL_S)
        if count != self._counted_in:
            self._counted_in = count
            self._own_before.clear()
        load = self._loads[node]
        self._own_before.setdefault(node, load.in_flight)
        load.in_flight += by
        self.load.in_flight += by

    def _take(self, nodes: Sequence[Node], table: Sequence[TableNode]) -> None:
        self._nodes = list(nodes)
        loads = self._loads
        for node in nodes:
            loads.setdefault(node.number, NodeLoad())
        candidates = [
            Candidate(told, loads[node.number]) for node, told in zip(nodes, table, strict=True)
        ]
        self._picker = self._module.build(candidates, self.load, self._rng, self._params)

    def _apply(self, count: int, now: float, in_flight: int) -> None:
        """Take the controller's last count in."""
        keep = math.exp(-(now - self._share_at) / SHARE_SMOOTH_S)
        self._share_at = now
        self._smooth = keep * self._smooth + (1.0 - keep) * self.load.in_flight
        self._smooth_all = keep * self._smooth_all + (1.0 - keep) * in_flight
        every = max(self._smooth, self._smooth_all) + PRIOR_CALLS * self.clients
        self.load.share = min(1.0, (self._smooth + PRIOR_CALLS) / every)
        self.load.count_age_s = INTERVAL_S
        before = self._own_before if self._counted_in == count else {}
        for node in self._nodes:
            load = self._loads[node.number]
            own = before.get(node.number, load.in_flight)
            load.others = float(max(0, node.counted(count) - own))
        self._applied = count
