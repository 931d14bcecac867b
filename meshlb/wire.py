"""Reports of load and calls, as Protobuf and as model; bad input is refused here.

``*_from_pb``, here and in ``table_wire`` and ``scale_wire``, check every field and raise one
InvalidInputError that names all faults, each as "FIELD = VALUE: allowed range". What they return
is safe to compute with: finite, in range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import eq

from meshlb.checks import FINITE, MOST_AT_ONCE, MOST_COUNT, MOST_SPAN_S, MOST_TIME_S, Faults
from meshlb.model import (
    CallReport,
    Health,
    LatencyBucket,
    LoadReport,
    NodeCalls,
    NodeInfo,
)
from meshlb.v1 import load_pb2
from meshlb.wire_time import duration, seconds, timestamp

MAX_LABELS, MAX_METRICS, MAX_BUCKETS, MAX_NODES = 32, 64, 256, 10_000

HEALTHS = {
    Health.UNCHECKED: load_pb2.HEALTH_UNSPECIFIED,
    Health.SERVING: load_pb2.HEALTH_SERVING,
    Health.NOT_SERVING: load_pb2.HEALTH_NOT_SERVING,
}
HEALTHS_BACK = {number: health for health, number in HEALTHS.items()}

# Fields of LoadReport that are plain optional figures: model name, message name, upper bound.
_FIGURES = (
    ("in_flight", "in_flight_count", MOST_AT_ONCE),
    ("queued", "queued_count", MOST_AT_ONCE),
    ("succeeded", "succeeded_count", MOST_COUNT),
    ("failed", "failed_count", MOST_COUNT),
    ("host_cpu", "host_cpu_utilization", 1.0),
    ("host_memory", "host_memory_utilization", 1.0),
    ("process_cpu_cores", "process_cpu_cores", FINITE),
    ("process_memory_bytes", "process_memory_bytes", MOST_COUNT),
    ("gpu", "gpu_utilization", 1.0),
    ("gpu_memory", "gpu_memory_utilization", 1.0),
    ("kv_cache", "kv_cache_utilization", 1.0),
    ("application", "application_utilization", FINITE),
    ("requests_per_s", "requests_per_second", FINITE),
    ("errors_per_s", "errors_per_second", FINITE),
    ("tokens_in", "token_in_count", MOST_COUNT),
    ("tokens_out", "token_out_count", MOST_COUNT),
    ("connections", "connection_count", MOST_COUNT),
)


class Last:
    """What one stream of reports said last: what it says again is not read and checked again."""

    __slots__ = ("calls", "entries", "node", "node_bytes")

    def __init__(self) -> None:
        self.node: NodeInfo | None = None
        self.node_bytes = b""
        self.calls: list[NodeCalls] = []
        self.entries: list[load_pb2.NodeCalls] = []
        """The messages of ``calls``."""


# --- load ------------------------------------------------------------------------------------


def node_info_to_pb(node: NodeInfo) -> load_pb2.NodeInfo:
    """Return the message of a node's declaration."""
    return load_pb2.NodeInfo(
        service=node.service,
        node_id=node.node_id,
        incarnation=node.incarnation,
        address=node.address,
        authority=node.authority,
        zone=node.zone,
        labels=dict(node.labels),
        slot_count=node.slots,
    )


def _node_info(message: load_pb2.NodeInfo, faults: Faults, at: str) -> NodeInfo:
    faults.name(f"{at}service", message.service)
    faults.text(f"{at}node_id", message.node_id, 1, 253)
    faults.positive(f"{at}incarnation", message.incarnation)
    faults.address(f"{at}address", message.address)
    faults.text(f"{at}authority", message.authority, 0, 253)
    faults.text(f"{at}zone", message.zone, 0, 128)
    faults.count(f"{at}labels", len(message.labels), MAX_LABELS)
    for key, value in message.labels.items():
        faults.text(f"{at}labels key", key, 1, 128)
        faults.text(f"{at}labels[{key[:140]!r}]", value, 0, 256)
    slots = message.slot_count if message.HasField("slot_count") else None
    if slots is not None and not 1 <= slots <= 1_000_000:
        faults.found.append(f"{at}slot_count = {slots}: from 1 to 1000000")
    return NodeInfo(
        service=message.service,
        node_id=message.node_id,
        incarnation=message.incarnation,
        address=message.address,
        authority=message.authority,
        zone=message.zone,
        labels=dict(message.labels),
        slots=slots,
    )


def node_info_from_pb(message: load_pb2.NodeInfo) -> NodeInfo:
    """Return a node's declaration, checked."""
    faults = Faults()
    node = _node_info(message, faults, "node.")
    faults.done("INVALID_NODE")
    return node


def _buckets_to_pb(buckets: tuple[LatencyBucket, ...]) -> list[load_pb2.LatencyBucket]:
    return [
        load_pb2.LatencyBucket(
            in_flight_count=b.in_flight, call_count=b.count, latency_sum=duration(b.sum_s)
        )
        for b in buckets
    ]


def _buckets(
    messages: Iterable[load_pb2.LatencyBucket], faults: Faults, at: str
) -> tuple[LatencyBucket, ...]:
    found = []
    for message in messages:
        in_flight, count, span = message.in_flight_count, message.call_count, message.latency_sum
        sum_s = span.seconds + span.nanos / 1e9
        if not (
            0 <= in_flight <= MOST_AT_ONCE
            and 0 <= count <= MOST_COUNT
            and 0 <= sum_s <= MOST_SPAN_S
        ):
            faults.number(f"{at}in_flight_count", in_flight, MOST_AT_ONCE)
            faults.number(f"{at}call_count", count, MOST_COUNT)
            faults.span(f"{at}latency_sum", sum_s)
        found.append(LatencyBucket(in_flight, count, sum_s))
    faults.count(at.rstrip("."), len(found), MAX_BUCKETS)
    return tuple(found)


def load_report_to_pb(report: LoadReport) -> load_pb2.LoadReport:
    """Return the message of a node's load."""
    message = load_pb2.LoadReport(
        node=node_info_to_pb(report.node),
        health=HEALTHS[report.health],
        latency=_buckets_to_pb(report.latency),
        named_metrics=dict(report.named_metrics),
        **{there: getattr(report, here) for here, there, _ in _FIGURES},
    )
    if report.observe_time_s is not None:
        message.observe_time.CopyFrom(timestamp(report.observe_time_s))
    if report.time_to_first_token_s is not None:
        message.time_to_first_token.CopyFrom(duration(report.time_to_first_token_s))
    return message


def load_report_from_pb(message: load_pb2.LoadReport, last: Last | None = None) -> LoadReport:
    """Return a node's load, checked: all finite, none negative, fractions from 0 to 1."""
    faults = Faults()
    node_bytes = message.node.SerializeToString()
    node = last.node if last is not None and last.node_bytes == node_bytes else None
    if node is None:
        node = _node_info(message.node, faults, "report.node.")
    figures = {}
    for here, there, most in _FIGURES:
        if message.HasField(there):
            value = getattr(message, there)
            if not 0 <= value <= most:
                faults.number(f"report.{there}", value, None if most == FINITE else most)
            figures[here] = value
    health = HEALTHS_BACK.get(message.health)
    if health is None:
        faults.found.append(f"report.health = {message.health}: one of {sorted(HEALTHS_BACK)}")
    first_token = None
    if message.HasField("time_to_first_token"):
        first_token = seconds(message.time_to_first_token)
        faults.span("report.time_to_first_token", first_token)
    observe_time_s = None
    if message.HasField("observe_time"):
        observe_time_s = seconds(message.observe_time)
        faults.number("report.observe_time", observe_time_s, MOST_TIME_S)
    named = dict(message.named_metrics)
    faults.count("report.named_metrics", len(named), MAX_METRICS)
    for key, value in named.items():
        faults.text("report.named_metrics key", key, 1, 128)
        if not math.isfinite(value):
            faults.found.append(f"report.named_metrics[{key[:140]!r}] = {value}: finite")
    latency = _buckets(message.latency, faults, "report.latency.")
    faults.done("INVALID_REPORT")
    if last is not None:
        last.node, last.node_bytes = node, node_bytes
    return LoadReport(
        node=node,
        observe_time_s=observe_time_s,
        health=health or Health.UNCHECKED,
        latency=latency,
        time_to_first_token_s=first_token,
        named_metrics=named,
        **figures,
    )


# --- calls -----------------------------------------------------------------------------------


def call_report_to_pb(report: CallReport) -> load_pb2.CallReport:
    """Return the message of a client's own counts."""
    return load_pb2.CallReport(
        service=report.service,
        client_id=report.client_id,
        sequence=report.sequence,
        waiting_count=report.waiting,
        applied_epoch=report.applied[0] if report.applied else 0,
        applied_version=report.applied[1] if report.applied else 0,
        nodes=[
            load_pb2.NodeCalls(
                node_id=n.node_id,
                in_flight_count=n.in_flight,
                started_count=n.started,
                succeeded_count=n.succeeded,
                failed_count=n.failed,
                refused_count=n.refused,
                in_flight_time=duration(n.in_flight_time_s),
                suspicion=n.suspicion,
            )
            for n in report.nodes
        ],
    )


def call_report_from_pb(message: load_pb2.CallReport, last: Last | None = None) -> CallReport:
    """Return a client's own counts, checked: none negative.

    Entries that stand where they stood in the last report, unchanged, are the same objects.
    """
    faults = Faults()
    faults.name("report.service", message.service)
    faults.text("report.client_id", message.client_id, 1, 128)
    faults.number("report.sequence", message.sequence)
    faults.number("report.waiting_count", message.waiting_count, MOST_AT_ONCE)
    applied = message.applied_epoch, message.applied_version
    for name, value in zip(("epoch", "version"), applied, strict=True):
        faults.number(f"report.applied_{name}", value)
    faults.count("report.nodes", len(message.nodes), MAX_NODES)
    last = Last() if last is None else last
    entries = list(message.nodes)
    calls = [
        before if same else _node_calls(entry, faults, before)
        for entry, before, same in zip(
            entries, last.calls, map(eq, entries, last.entries), strict=False
        )
    ]
    calls += [_node_calls(entry, faults) for entry in entries[len(calls) :]]
    faults.done("INVALID_REPORT")
    last.calls, last.entries = calls, entries
    return CallReport(
        service=message.service,
        client_id=message.client_id,
        sequence=message.sequence,
        nodes=tuple(calls),
        waiting=message.waiting_count,
        applied=applied if applied[0] else None,
    )


def _node_calls(
    entry: load_pb2.NodeCalls, faults: Faults, before: NodeCalls | None = None
) -> NodeCalls:
    node_id = entry.node_id
    if before is not None and before.node_id == node_id:
        node_id = before.node_id  # one object, hashed once
    figures = (
        entry.in_flight_count, entry.started_count, entry.succeeded_count, entry.failed_count,
        entry.refused_count,
    )  # fmt: skip
    span = entry.in_flight_time
    spent_s = span.seconds + span.nanos / 1e9
    wrong = min(figures) < 0 or max(figures) > MOST_COUNT or figures[0] > MOST_AT_ONCE
    if wrong or not (0 < len(node_id) <= 253 and 0 <= spent_s <= MOST_SPAN_S):
        faults.text("report.nodes.node_id", node_id, 1, 253)
        if wrong:
            faults.found.append(
                f"report.nodes[{node_id[:140]!r}] counts = {figures}: from 0 to {MOST_COUNT}, the "
                f"first, calls in flight, to {MOST_AT_ONCE}"
            )
        faults.span("report.nodes.in_flight_time", spent_s)
    suspicion = entry.suspicion
    if suspicion:
        faults.text("report.nodes.suspicion", suspicion, 0, 128)
    return NodeCalls(node_id, *figures, spent_s, suspicion)
