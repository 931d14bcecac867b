"""When a withdrawn node can be stopped without breaking a call.

In this order: every client has counted its calls under a table that shows the node as draining (one
that is silent past its lease counts as if it had): an acknowledgement alone is not enough, since
counts from before it may still be on their way. No call is in flight there, by the clients' counts
and, if the server tells, by its own. A server that does not tell has no connection left but its
sidecar's, since calls that bypass clients show nowhere else.

Silence is not idleness: what a sidecar said last holds for a while, and after a controller was held
up itself nobody is silent to it until all had the time to speak.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.service_record import ServiceRecord

CONNECTIONS_LIMIT_S = 10.0
"""So long its sidecar may take to tell the connections; after that it is taken to be unable to. So
long it may be silent, with its stream gone, before nothing is expected of it any more; and so long
a controller that has just started waits for it to come at all."""
NO_CALL = 0.5
"""Fewer calls in flight are none: what servers see besides clients' counts fades out smoothly."""


@dataclass(frozen=True, slots=True)
class DrainState:
    """How far one node's withdrawal has come."""

    drained: bool
    waiting_for: str
    """For people; empty if drained."""
    acknowledged: int
    clients: int
    in_flight: float | None
    """None: nobody tells."""
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class DrainView:
    """All that tells."""

    withdrawn: bool
    """Whether a table shows it as draining."""
    acknowledged: int
    clients: int
    in_flight: float
    """By the clients' counts."""
    server_in_flight: int | None = None
    """By the server's own; None: it does not tell."""
    connections: int | None = None
    """Its sidecar's not counted; None: not known."""
    reporting: bool = True
    """Whether its sidecar speaks."""
    settled: bool = True
    """Whether the controller has listened for long enough to have heard of all clients."""
    held_up: bool = False
    """Whether the controller was, of late, so that it may not have heard what was said."""
    awaited: bool = False
    """Whether its sidecar may yet tell of connections, and has not."""


def state(view: DrainView) -> DrainState:
    """Return how far it has come, and what for it waits."""
    waiting_for = ""
    in_flight = max(view.in_flight, float(view.server_in_flight or 0))
    left = view.clients - view.acknowledged
    if not view.withdrawn:
        waiting_for = "a table without it"
    elif left > 0:
        waiting_for = f"{counted(left, 'client')} of {view.clients} to apply a table without it"
    elif in_flight >= NO_CALL:
        waiting_for = f"{counted(max(1, round(in_flight)), 'call')} in flight"
    elif not view.settled:
        waiting_for = "clients to tell of their calls: the controller has just started"
    elif view.held_up:
        waiting_for = "clients to tell of their calls: the controller was held up"
    elif view.server_in_flight is None and view.reporting and view.connections:
        waiting_for = f"{counted(view.connections, 'connection')} of clients to close"
    elif view.server_in_flight is None and view.reporting and view.awaited:
        waiting_for = "its sidecar to tell of connections"
    return DrainState(
        drained=not waiting_for,
        waiting_for=waiting_for,
        acknowledged=view.acknowledged,
        clients=view.clients,
        in_flight=in_flight,
        connections=view.connections,
    )


def view_of(record: ServiceRecord, node_id: str, now: float) -> DrainView | None:
    """Return what the controller's records say of one node; None: it is not known (any more)."""
    node = record.nodes.get(node_id)
    if node is None:
        return None
    version = node.withdrawn_version
    clients = acknowledged = in_flight = 0
    for client in record.clients.values():
        live = client.live(now, record.lease_s)
        if client.watchers <= 0 and not live:
            continue
        clients += 1
        if live:
            in_flight += client.in_flight.get(node_id, 0)
        # A client that reports without naming its table is older than that field.
        told = client.acked if client.counted is None and client.sequence > 0 else client.counted
        if not live or (version is not None and (told or 0) >= version):
            acknowledged += 1
    report = node.report
    silent_s = now - node.report_at
    speaks = not node.ended and (node.stream is not None or silent_s <= CONNECTIONS_LIMIT_S)
    connections = None if report is None or not speaks else report.connections
    withdrawn_at = now if node.withdrawn_at is None else node.withdrawn_at
    return DrainView(
        withdrawn=version is not None,
        acknowledged=acknowledged,
        clients=clients,
        # The tick's sum may be older than a client's last word, which may be what drains it.
        in_flight=max(record.in_flight.get(node_id, 0.0), float(in_flight)),
        server_in_flight=None if report is None or not speaks else report.in_flight,
        connections=connections,
        reporting=speaks,
        settled=settled(record),
        held_up=now < record.deaf_until,
        awaited=connections is None and now - withdrawn_at <= CONNECTIONS_LIMIT_S,
    )


def calls_at(record: ServiceRecord, node_id: str, now: float) -> int:
    """Return the calls in flight at a node by the counts of clients that speak."""
    live = (c for c in record.clients.values() if c.live(now, record.lease_s))
    return sum(client.in_flight.get(node_id, 0) for client in live)


def settled(record: ServiceRecord) -> bool:
    """Return whether a service's tables are complete: who has not spoken by then is not there."""
    return record.table is not None and record.table.complete


def gone(record: ServiceRecord, now: float) -> bool:
    """Return whether a node that is not known is not there, rather than not heard yet."""
    return settled(record) and now - record.listens_since > CONNECTIONS_LIMIT_S


def counted(number: int, what: str) -> str:
    """Return "1 call" or "2 calls"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
