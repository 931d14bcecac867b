"""What ListServices and ListNodes say: the fleet's records as messages."""

from __future__ import annotations

from collections.abc import Mapping

from meshlb import table_wire, wire
from meshlb.controller.gate import Refused
from meshlb.model import NodeState
from meshlb.policy.service_record import ServiceRecord
from meshlb.v1 import balance_pb2
from meshlb.wire_time import duration, timestamp

CALLED = (NodeState.ACTIVE, NodeState.UNKNOWN)


def service_status(record: ServiceRecord) -> balance_pb2.ServiceStatus:
    """Return one line about a service."""
    states = [state for state, _ in record.states.values()]
    return balance_pb2.ServiceStatus(
        service=record.name,
        node_count=len(record.nodes),
        active_node_count=sum(1 for state in states if state in CALLED),
        client_count=record.watching,
        in_flight_count=sum(record.in_flight.values()),
        waiting_count=sum(c.waiting for c in record.clients.values()),
        picker=record.settings.picker,
    )


def refusals(refused: Mapping[tuple[str, str], Refused]) -> list[balance_pb2.RefusalCount]:
    """Return what was refused, most often first."""
    return [
        balance_pb2.RefusalCount(
            call=call,
            reason=reason,
            count=one.count,
            last_time=timestamp(one.last_at),
            last_identity=one.last_who,
            last_peer=one.last_peer,
        )
        for (call, reason), one in sorted(refused.items(), key=lambda item: -item[1].count)
    ]


def node_statuses(record: ServiceRecord, now: float) -> list[balance_pb2.NodeStatus]:
    """Return what is known of each node of a service, by node id."""
    in_table = {n.node_id: n for n in record.table.nodes} if record.table else {}
    applied = [c.acked or 0 for c in record.clients.values() if c.watchers > 0]
    found = []
    for node_id, node in sorted(record.nodes.items()):
        state, reason = record.states.get(node_id) or node.state(now, record.settings.fresh_s)
        shown = in_table.get(node_id)
        message = balance_pb2.NodeStatus(
            node=wire.node_info_to_pb(node.info),
            state=table_wire.STATES[state],
            reason=reason,
            weight=shown.weight if shown else 0.0,
            report_age=duration(max(0.0, now - node.report_at)),
            in_flight_count=node.in_flight,
            applied_version=min(applied, default=0),
        )
        if shown is not None and shown.curve is not None:
            message.curve.CopyFrom(table_wire.curve_to_pb(shown.curve))
        if node.report is not None:
            message.report.CopyFrom(wire.load_report_to_pb(node.report))
        found.append(message)
    return found
