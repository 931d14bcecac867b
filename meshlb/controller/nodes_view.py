"""The fleet's records of one service as plans and drains see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from meshlb.policy import drain
from meshlb.policy.drain import DrainState
from meshlb.policy.node_record import NodeRecord
from meshlb.policy.reconcile import NodeView
from meshlb.policy.service_record import ServiceRecord

GONE = DrainState(drained=True, waiting_for="", acknowledged=0, clients=0, in_flight=None)
UNHEARD = DrainState(
    drained=False, waiting_for="its sidecar to report", acknowledged=0, clients=0, in_flight=None
)


def node_views(
    record: ServiceRecord, operators: Container[str], now: float, unix_now: float
) -> dict[str, NodeView]:
    """Return the nodes of a service, by node_id.

    ``operators``: nodes that an operator has withdrawn; those that withdrew themselves count too.
    """
    views = {}
    for node_id, node in record.nodes.items():
        progress = drain_state(record, node_id, now) if node.withdrawn else None
        views[node_id] = NodeView(
            in_flight=node.in_flight,
            since=unix_now - (now - node.joined_at),
            withdrawn_since=_withdrawn_since(node, now, unix_now),
            by_operator=node.drained or node_id in operators,
            drained=progress is not None and progress.drained,
            waiting_for="" if progress is None else progress.waiting_for,
        )
    for node_id in record.orders.keys() - record.nodes.keys():
        # Not heard of since the controller's start: it is withdrawn nevertheless, and is neither
        # counted as one that serves nor stopped before it could have told of its calls.
        progress = drain_state(record, node_id, now)
        views[node_id] = NodeView(
            in_flight=0.0,
            since=unix_now,
            withdrawn_since=unix_now,
            by_operator=node_id in operators,
            drained=progress.drained,
            waiting_for=progress.waiting_for,
        )
    return views


def drain_state(record: ServiceRecord, node_id: str, now: float) -> DrainState:
    """Return how far a node's withdrawal has come; one that is gone and not called is drained."""
    view = drain.view_of(record, node_id, now)
    if view is None:
        # Forgotten for its sidecar's silence it may still serve a long call.
        calls = drain.calls_at(record, node_id, now)
        if calls:
            waiting_for = f"{drain.counted(calls, 'call')} in flight"
            return dataclasses.replace(UNHEARD, waiting_for=waiting_for, in_flight=float(calls))
        return GONE if drain.gone(record, now) else UNHEARD
    return drain.state(view)


def _withdrawn_since(node: NodeRecord, now: float, unix_now: float) -> float | None:
    if not node.withdrawn:
        return None
    return unix_now - (now - (now if node.withdrawn_at is None else node.withdrawn_at))
