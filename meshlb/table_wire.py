"""Tables, shares and subscriptions, as Protobuf and as model; bad input is refused here."""

from __future__ import annotations

from meshlb import wire
from meshlb.checks import Faults
from meshlb.model import (
    CallLimits,
    LoadShare,
    NodeState,
    Priority,
    SpeedCurve,
    Table,
    TableNode,
)
from meshlb.v1 import balance_pb2, routing_pb2
from meshlb.wire_time import duration, seconds, set_duration

NOT_COMPLETE = "not complete yet"
"""So begins what a client answers that keeps another controller's table for now, as it should."""

STATES = {
    NodeState.ACTIVE: routing_pb2.NODE_STATE_ACTIVE,
    NodeState.UNKNOWN: routing_pb2.NODE_STATE_UNKNOWN,
    NodeState.DRAINING: routing_pb2.NODE_STATE_DRAINING,
    NodeState.UNHEALTHY: routing_pb2.NODE_STATE_UNHEALTHY,
    NodeState.EJECTED: routing_pb2.NODE_STATE_EJECTED,
}
STATES_BACK = {number: state for state, number in STATES.items()}


def curve_to_pb(curve: SpeedCurve) -> routing_pb2.SpeedCurve:
    """Return the message of a speed curve."""
    message = routing_pb2.SpeedCurve()
    _set_curve(message, curve)
    return message


def _set_curve(message: routing_pb2.SpeedCurve, curve: SpeedCurve) -> None:
    set_duration(message.base, curve.base_s)
    set_duration(message.slope, curve.slope_s)
    message.knee = curve.knee


def table_node_to_pb(node: TableNode) -> routing_pb2.TableNode:
    """Return the message of one node of a table."""
    message = routing_pb2.TableNode(
        node_id=node.node_id,
        incarnation=node.incarnation,
        address=node.address,
        authority=node.authority,
        state=STATES[node.state],
        weight=node.weight,
        slot_count=node.slots,
        zone=node.zone,
        limit_count=node.limit,
    )
    if node.curve is not None:
        _set_curve(message.curve, node.curve)  # in place: a message given to another is copied
    return message


def table_to_pb(table: Table) -> routing_pb2.RoutingTable:
    """Return the message of a table."""
    return routing_pb2.RoutingTable(
        service=table.service,
        controller_id=table.controller_id,
        epoch=table.epoch,
        version=table.version,
        complete=table.complete,
        picker=table.picker,
        idempotent_methods=table.idempotent_methods,
        starting=table.starting,
        limits=None if table.limits is None else _limits_to_pb(table.limits),
        nodes=[table_node_to_pb(node) for node in table.nodes],
    )


def _limits_to_pb(limits: CallLimits) -> routing_pb2.CallLimits:
    return routing_pb2.CallLimits(
        in_flight_count=limits.in_flight,
        node_in_flight_count=limits.per_node,
        waiting_count=limits.waiting,
        priorities=[routing_pb2.Priority(name=p.name, floor=p.floor) for p in limits.priorities],
        client_count=limits.clients,
    )


def _limits(message: routing_pb2.CallLimits, faults: Faults) -> CallLimits:
    in_flight = message.in_flight_count if message.HasField("in_flight_count") else None
    per_node = message.node_in_flight_count if message.HasField("node_in_flight_count") else None
    for name, count in (("in_flight", in_flight), ("node_in_flight", per_node)):
        if count is not None:
            faults.positive(f"table.limits.{name}_count", count)
    faults.number("table.limits.waiting_count", message.waiting_count)
    faults.positive("table.limits.client_count", message.client_count)
    for one in message.priorities:
        faults.name("table.limits.priorities.name", one.name)
        faults.number(f"table.limits.priorities[{one.name[:140]!r}].floor", one.floor, 1)
    faults.number("table.limits.priorities.floor, all together",
                  sum(one.floor for one in message.priorities), 1 + 1e-9)  # fmt: skip
    if len({one.name for one in message.priorities}) < len(message.priorities):
        faults.found.append("table.limits.priorities: a name stands twice: each once")
    return CallLimits(
        in_flight=in_flight,
        per_node=per_node,
        waiting=message.waiting_count,
        priorities=tuple(Priority(one.name, one.floor) for one in message.priorities),
        clients=message.client_count,
    )


def _curve(message: routing_pb2.SpeedCurve, faults: Faults, at: str) -> SpeedCurve:
    curve = SpeedCurve(seconds(message.base), seconds(message.slope), message.knee)
    faults.positive(f"{at}curve.base", curve.base_s)
    faults.positive(f"{at}curve.slope", curve.slope_s)
    faults.number(f"{at}curve.knee", curve.knee)
    return curve


def table_from_pb(message: routing_pb2.RoutingTable) -> Table:
    """Return a table, checked: known states, positive weights, dialable addresses, unique nodes."""
    faults = Faults()
    faults.name("table.service", message.service)
    faults.number("table.epoch", message.epoch)
    faults.number("table.version", message.version)
    faults.count("table.nodes", len(message.nodes), wire.MAX_NODES)
    nodes = []
    for n in message.nodes:
        at = f"table.nodes[{n.node_id[:140]!r}]."
        faults.text("table.nodes.node_id", n.node_id, 1, 253)
        faults.address(f"{at}address", n.address)
        faults.positive(f"{at}weight", n.weight)
        if n.state == routing_pb2.NODE_STATE_UNSPECIFIED:
            faults.found.append(f"{at}state = {n.state}: one of {sorted(STATES_BACK)}")
        slots = n.slot_count if n.HasField("slot_count") else None
        if slots is not None:
            faults.positive(f"{at}slot_count", slots)
        limit = n.limit_count if n.HasField("limit_count") else None
        if limit is not None:
            faults.positive(f"{at}limit_count", limit)
        nodes.append(
            TableNode(
                node_id=n.node_id,
                incarnation=n.incarnation,
                address=n.address,
                authority=n.authority,
                state=STATES_BACK.get(
                    n.state, NodeState.UNKNOWN
                ),  # newer controllers may have more
                weight=n.weight,
                curve=_curve(n.curve, faults, at) if n.HasField("curve") else None,
                slots=slots,
                zone=n.zone,
                limit=limit,
            )
        )
    if len({n.node_id for n in nodes}) < len(nodes):
        faults.found.append("table.nodes: a node_id stands twice: each once")
    limits = _limits(message.limits, faults) if message.HasField("limits") else None
    faults.done("INVALID_TABLE")
    return Table(
        service=message.service,
        controller_id=message.controller_id,
        epoch=message.epoch,
        version=message.version,
        complete=message.complete,
        nodes=tuple(nodes),
        picker=message.picker,
        idempotent_methods=tuple(message.idempotent_methods),
        starting=message.starting,
        limits=limits,
    )


def share_to_pb(share: LoadShare) -> routing_pb2.LoadShare:
    """Return the message of one client's share and counts."""
    return routing_pb2.LoadShare(
        share=share.share,
        nodes=[
            routing_pb2.NodeInFlight(node_id=node_id, in_flight_count=count)
            for node_id, count in share.in_flight.items()
        ],
        counted_sequence=share.counted_sequence,
        interval=duration(share.interval_s),
        admitted_count=share.admitted,
    )


def share_from_pb(message: routing_pb2.LoadShare) -> LoadShare:
    """Return one client's share and counts, checked: share in (0, 1], counts not negative."""
    faults = Faults()
    share = message.share if message.HasField("share") else None
    if share is not None and not 0 < share <= 1:
        faults.found.append(f"share.share = {share}: above 0, at most 1")
    for n in message.nodes:
        faults.number(f"share.nodes[{n.node_id[:140]!r}].in_flight_count", n.in_flight_count)
    interval_s = seconds(message.interval)
    faults.positive("share.interval", interval_s)
    faults.number("share.counted_sequence", message.counted_sequence)
    admitted = message.admitted_count if message.HasField("admitted_count") else None
    if admitted is not None:
        faults.number("share.admitted_count", admitted)
    faults.done("INVALID_SHARE")
    return LoadShare(
        share=share,
        in_flight={n.node_id: n.in_flight_count for n in message.nodes},
        counted_sequence=message.counted_sequence,
        interval_s=interval_s,
        admitted=admitted,
    )


def check_subscribe(message: balance_pb2.Subscribe) -> None:
    """Raise InvalidInputError unless service, client and zone are as they must be."""
    faults = Faults()
    faults.name("subscribe.service", message.service)
    faults.text("subscribe.client_id", message.client_id, 1, 128)
    faults.text("subscribe.zone", message.zone, 0, 128)
    faults.done("INVALID_SUBSCRIPTION")
