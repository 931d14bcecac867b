"""What one service's nodes should have, by ``policy.vertical``, and what they are given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from meshlb.policy.resizing import cores_to_give, slots_to_give
from meshlb.policy.service_record import ServiceRecord
from meshlb.policy.vertical import Has, Use, UseHistory
from meshlb.scale_model import Resources, Vertical

LOOK_EVERY_S = 1.0
TELL_EVERY_S = 10.0


class Sizing:
    """Follows use, recommends, and with ``apply`` orders slots; cores are the actuator's."""

    def __init__(self) -> None:
        self.resources: Sequence[Resources] = ()
        self.cores: dict[str, float] = {}
        """Cores that nodes are to have, by node_id; the actuator's task gives them."""
        self.cores_given: dict[str, float] = {}
        """Cores that the actuator has given, by node_id; infinite: as it was started."""
        self.gives = False
        """Whether sizes are given at all; else nodes are to have what they were started with."""
        self._uses = UseHistory()
        self._looked_at = self._told_at = -math.inf

    def look(self, record: ServiceRecord, vertical: Vertical, now: float) -> None:
        """Take in what is in use, once a second."""
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        self._uses.observe({key: _use(record, key) for key in record.nodes}, now)
        given = self.cores_given
        self.cores_given = {key: cores for key, cores in given.items() if key in record.nodes}
        if self.gives != (vertical is Vertical.APPLY):
            self._told_at = -math.inf  # what is told as applied is not so any more
        self.gives = vertical is Vertical.APPLY
        if not self.gives:
            self.cores = {}
            for node in record.nodes.values():
                node.slots_order = None
        if vertical is Vertical.OFF:
            self.resources = ()
            return
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.resources = self._uses.recommend(self._have(record))
        if vertical is Vertical.APPLY:
            self._give(record)
            self.resources = [self._applied(record, one) for one in self.resources]

    def _have(self, record: ServiceRecord) -> Mapping[str, Has]:
        nodes = () if record.table is None else record.table.nodes
        curves = {node.node_id: node.curve for node in nodes}
        return {
            key: Has(node.info.slots, self._limit(key), curves.get(key))
            for key, node in record.nodes.items()
        }

    def _give(self, record: ServiceRecord) -> None:
        for one in self.resources:
            node = record.nodes.get(one.node_id)
            if node is None:
                continue
            use = _use(record, one.node_id)
            if node.declared_slots is not None:
                given = node.slots_order or node.declared_slots
                slots = slots_to_give(one.slots, given, node.in_flight)
                node.slots_order = None if slots == node.declared_slots else slots
            cores = cores_to_give(one.cpu_cores, self.cores.get(one.node_id), use.cpu_cores)
            if cores is not None:
                self.cores[one.node_id] = cores
        self.cores = {key: cores for key, cores in self.cores.items() if key in record.nodes}

    def _applied(self, record: ServiceRecord, one: Resources) -> Resources:
        node = record.nodes.get(one.node_id)
        if node is None:
            return one
        slots = node.slots_order is not None and node.limit is not None
        cores = self._limit(one.node_id)
        return dataclasses.replace(
            one,
            current_slots=node.info.slots,
            current_cpu_cores=cores,
            applied=slots or (cores is not None and cores == self.cores.get(one.node_id)),
        )

    def _limit(self, node_id: str) -> float | None:
        """Return the cores that a node is held to; None: it is not."""
        cores = self.cores_given.get(node_id)
        return None if cores == math.inf else cores


def _use(record: ServiceRecord, node_id: str) -> Use:
    node = record.nodes[node_id]
    report = node.report
    if report is None:
        return Use(in_flight=node.in_flight)
    return Use(node.in_flight, report.process_cpu_cores, report.process_memory_bytes)
