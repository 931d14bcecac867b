"""The only place where Protobuf becomes model and back; bad input is refused here.

``*_from_pb`` check every field and raise one InvalidInputError that names all faults, each as
"FIELD = VALUE: allowed range". What they return is safe to compute with: finite, in range.
Long because each message has its two directions side by side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration

from meshlb.errors import InvalidInputError
from meshlb.model import (
    CallReport,
    Health,
    LatencyBucket,
    LoadReport,
    LoadShare,
    NodeCalls,
    NodeInfo,
    NodeState,
    SpeedCurve,
    Table,
    TableNode,
)
from meshlb.v1 import balance_pb2, load_pb2, routing_pb2

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
MAX_LABELS, MAX_METRICS, MAX_BUCKETS, MAX_NODES = 32, 64, 256, 10_000

STATES = {
    NodeState.ACTIVE: routing_pb2.NODE_STATE_ACTIVE,
    NodeState.UNKNOWN: routing_pb2.NODE_STATE_UNKNOWN,
    NodeState.DRAINING: routing_pb2.NODE_STATE_DRAINING,
    NodeState.UNHEALTHY: routing_pb2.NODE_STATE_UNHEALTHY,
}
STATES_BACK = {number: state for state, number in STATES.items()}
HEALTHS = {
    Health.UNCHECKED: load_pb2.HEALTH_UNSPECIFIED,
    Health.SERVING: load_pb2.HEALTH_SERVING,
    Health.NOT_SERVING: load_pb2.HEALTH_NOT_SERVING,
}
HEALTHS_BACK = {number: health for health, number in HEALTHS.items()}

# Fields of LoadReport that are plain optional figures: model name, message name, upper bound.
_FIGURES = (
    ("in_flight", "in_flight_count", None),
    ("queued", "queued_count", None),
    ("succeeded", "succeeded_count", None),
    ("failed", "failed_count", None),
    ("host_cpu", "host_cpu_utilization", 1.0),
    ("host_memory", "host_memory_utilization", 1.0),
    ("process_cpu_cores", "process_cpu_cores", None),
    ("process_memory_bytes", "process_memory_bytes", None),
    ("gpu", "gpu_utilization", 1.0),
    ("gpu_memory", "gpu_memory_utilization", 1.0),
    ("kv_cache", "kv_cache_utilization", 1.0),
    ("application", "application_utilization", None),
    ("requests_per_s", "requests_per_second", None),
    ("errors_per_s", "errors_per_second", None),
    ("tokens_in", "token_in_count", None),
    ("tokens_out", "token_out_count", None),
)


class _Faults:
    """Collects what is wrong with one message, so that all of it is told at once."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[str] = []

    def name(self, field: str, value: str) -> None:
        if not NAME.match(value):
            self.found.append(
                f"{field} = {value[:140]!r}: 1 to 128 characters of A-Z a-z 0-9 . _ -"
            )

    def text(self, field: str, value: str, least: int, most: int) -> None:
        if not least <= len(value) <= most:
            self.found.append(f"{field} = {value[:140]!r}: {least} to {most} characters")

    def number(self, field: str, value: float, most: float | None = None) -> None:
        if not math.isfinite(value) or value < 0 or (most is not None and value > most):
            allowed = "finite, 0 or more" if most is None else f"from 0 to {most:g}"
            self.found.append(f"{field} = {value}: {allowed}")

    def positive(self, field: str, value: float) -> None:
        if not math.isfinite(value) or value <= 0:
            self.found.append(f"{field} = {value}: finite, above 0")

    def count(self, field: str, size: int, most: int) -> None:
        if size > most:
            self.found.append(f"{field}: {size} entries: at most {most}")

    def address(self, field: str, value: str) -> None:
        try:
            parse_address(value)
        except InvalidInputError as error:
            self.found.append(f"{field} = {value[:140]!r}: {error.faults[0].partition(': ')[2]}")

    def done(self, reason: str) -> None:
        if self.found:
            raise InvalidInputError(self.found, reason=reason)


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of "HOST:PORT" or "[IPV6]:PORT".

    Raises InvalidInputError unless the host is there and the port is from 1 to 65535.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    good = bool(colon and host and port.isascii() and port.isdigit() and len(text) <= 300)
    good = good and not re.search(r"[\s/,@]", host) and (":" not in host or bracketed)
    if not good or not 1 <= int(port) <= 65535:
        raise InvalidInputError(
            f"address = {text[:140]!r}: HOST:PORT or [IPV6]:PORT, port from 1 to 65535",
            reason="INVALID_ADDRESS",
        )
    return (host[1:-1] if bracketed else host), int(port)


def seconds(span: Duration) -> float:
    """Return a Duration in seconds; wrong ones give what they say, checks are the caller's."""
    return span.seconds + span.nanos / 1e9


def duration(span_s: float) -> Duration:
    """Return seconds as a Duration, to the nanosecond."""
    whole = math.floor(span_s)
    return Duration(seconds=whole, nanos=min(999_999_999, round((span_s - whole) * 1e9)))


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


def _node_info(message: load_pb2.NodeInfo, faults: _Faults, at: str) -> NodeInfo:
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
    faults = _Faults()
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
    messages: Iterable[load_pb2.LatencyBucket], faults: _Faults, at: str
) -> tuple[LatencyBucket, ...]:
    found = []
    for message in messages:
        bucket = LatencyBucket(
            message.in_flight_count, message.call_count, seconds(message.latency_sum)
        )
        if bucket.in_flight < 0 or bucket.count < 0 or bucket.sum_s < 0:
            faults.number(f"{at}in_flight_count", bucket.in_flight)
            faults.number(f"{at}call_count", bucket.count)
            faults.number(f"{at}latency_sum", bucket.sum_s)
        found.append(bucket)
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
        message.observe_time.FromDatetime(datetime.fromtimestamp(report.observe_time_s, UTC))
    if report.time_to_first_token_s is not None:
        message.time_to_first_token.CopyFrom(duration(report.time_to_first_token_s))
    return message


def load_report_from_pb(message: load_pb2.LoadReport) -> LoadReport:
    """Return a node's load, checked: all finite, none negative, fractions from 0 to 1."""
    faults = _Faults()
    node = _node_info(message.node, faults, "report.node.")
    figures = {}
    for here, there, most in _FIGURES:
        if message.HasField(there):
            value = getattr(message, there)
            faults.number(f"report.{there}", value, most)
            figures[here] = value
    health = HEALTHS_BACK.get(message.health)
    if health is None:
        faults.found.append(f"report.health = {message.health}: one of {sorted(HEALTHS_BACK)}")
    first_token = None
    if message.HasField("time_to_first_token"):
        first_token = seconds(message.time_to_first_token)
        faults.number("report.time_to_first_token", first_token)
    faults.count("report.named_metrics", len(message.named_metrics), MAX_METRICS)
    for key, value in message.named_metrics.items():
        faults.text("report.named_metrics key", key, 1, 128)
        if not math.isfinite(value):
            faults.found.append(f"report.named_metrics[{key[:140]!r}] = {value}: finite")
    latency = _buckets(message.latency, faults, "report.latency.")
    faults.done("INVALID_REPORT")
    observe = message.observe_time
    return LoadReport(
        node=node,
        observe_time_s=(observe.seconds + observe.nanos / 1e9)
        if message.HasField("observe_time")
        else None,
        health=health or Health.UNCHECKED,
        latency=latency,
        time_to_first_token_s=first_token,
        named_metrics=dict(message.named_metrics),
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
        nodes=[
            load_pb2.NodeCalls(
                node_id=n.node_id,
                in_flight_count=n.in_flight,
                started_count=n.started,
                succeeded_count=n.succeeded,
                failed_count=n.failed,
                refused_count=n.refused,
                in_flight_time=duration(n.in_flight_time_s),
            )
            for n in report.nodes
        ],
    )


def call_report_from_pb(message: load_pb2.CallReport) -> CallReport:
    """Return a client's own counts, checked: none negative."""
    faults = _Faults()
    faults.name("report.service", message.service)
    faults.text("report.client_id", message.client_id, 1, 128)
    faults.number("report.sequence", message.sequence)
    faults.number("report.waiting_count", message.waiting_count)
    faults.count("report.nodes", len(message.nodes), MAX_NODES)
    nodes = []
    for n in message.nodes:
        faults.text("report.nodes.node_id", n.node_id, 1, 253)
        figures = (
            n.in_flight_count, n.started_count, n.succeeded_count, n.failed_count, n.refused_count,
        )  # fmt: skip
        if min(figures) < 0:
            faults.found.append(
                f"report.nodes[{n.node_id[:140]!r}] counts = {figures}: finite, 0 or more"
            )
        spent_s = seconds(n.in_flight_time)
        faults.number("report.nodes.in_flight_time", spent_s)
        nodes.append(NodeCalls(n.node_id, *figures, in_flight_time_s=spent_s))
    faults.done("INVALID_REPORT")
    return CallReport(
        service=message.service,
        client_id=message.client_id,
        sequence=message.sequence,
        nodes=tuple(nodes),
        waiting=message.waiting_count,
    )


# --- tables ----------------------------------------------------------------------------------


def curve_to_pb(curve: SpeedCurve) -> routing_pb2.SpeedCurve:
    """Return the message of a speed curve."""
    return routing_pb2.SpeedCurve(
        base=duration(curve.base_s), slope=duration(curve.slope_s), knee=curve.knee
    )


def table_node_to_pb(node: TableNode) -> routing_pb2.TableNode:
    """Return the message of one node of a table."""
    return routing_pb2.TableNode(
        node_id=node.node_id,
        incarnation=node.incarnation,
        address=node.address,
        authority=node.authority,
        state=STATES[node.state],
        weight=node.weight,
        curve=None if node.curve is None else curve_to_pb(node.curve),
        slot_count=node.slots,
        zone=node.zone,
    )


def table_to_pb(
    table: Table, made: dict[str, routing_pb2.TableNode] | None = None
) -> routing_pb2.RoutingTable:
    """Return the message of a table.

    ``made`` keeps the messages of nodes, by node_id, for other subsets of this same table.
    """
    made = {} if made is None else made
    for node in table.nodes:
        if node.node_id not in made:
            made[node.node_id] = table_node_to_pb(node)
    return routing_pb2.RoutingTable(
        service=table.service,
        controller_id=table.controller_id,
        epoch=table.epoch,
        version=table.version,
        complete=table.complete,
        picker=table.picker,
        idempotent_methods=table.idempotent_methods,
        nodes=[made[node.node_id] for node in table.nodes],
    )


def _curve(message: routing_pb2.SpeedCurve, faults: _Faults, at: str) -> SpeedCurve:
    curve = SpeedCurve(seconds(message.base), seconds(message.slope), message.knee)
    faults.positive(f"{at}curve.base", curve.base_s)
    faults.positive(f"{at}curve.slope", curve.slope_s)
    faults.number(f"{at}curve.knee", curve.knee)
    return curve


def table_from_pb(message: routing_pb2.RoutingTable) -> Table:
    """Return a table, checked: known states, positive weights, dialable addresses, unique nodes."""
    faults = _Faults()
    faults.name("table.service", message.service)
    faults.count("table.nodes", len(message.nodes), MAX_NODES)
    nodes = []
    for n in message.nodes:
        at = f"table.nodes[{n.node_id[:140]!r}]."
        faults.text("table.nodes.node_id", n.node_id, 1, 253)
        faults.address(f"{at}address", n.address)
        faults.positive(f"{at}weight", n.weight)
        state = STATES_BACK.get(n.state)
        if state is None:
            faults.found.append(f"{at}state = {n.state}: one of {sorted(STATES_BACK)}")
        slots = n.slot_count if n.HasField("slot_count") else None
        if slots is not None:
            faults.positive(f"{at}slot_count", slots)
        nodes.append(
            TableNode(
                node_id=n.node_id,
                incarnation=n.incarnation,
                address=n.address,
                authority=n.authority,
                state=state or NodeState.UNKNOWN,
                weight=n.weight,
                curve=_curve(n.curve, faults, at) if n.HasField("curve") else None,
                slots=slots,
                zone=n.zone,
            )
        )
    if len({n.node_id for n in nodes}) < len(nodes):
        faults.found.append("table.nodes: a node_id stands twice: each once")
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
    )


def share_from_pb(message: routing_pb2.LoadShare) -> LoadShare:
    """Return one client's share and counts, checked: share in (0, 1], counts not negative."""
    faults = _Faults()
    share = message.share if message.HasField("share") else None
    if share is not None and not 0 < share <= 1:
        faults.found.append(f"share.share = {share}: above 0, at most 1")
    for n in message.nodes:
        faults.number(f"share.nodes[{n.node_id[:140]!r}].in_flight_count", n.in_flight_count)
    interval_s = seconds(message.interval)
    faults.positive("share.interval", interval_s)
    faults.number("share.counted_sequence", message.counted_sequence)
    faults.done("INVALID_SHARE")
    return LoadShare(
        share=share,
        in_flight={n.node_id: n.in_flight_count for n in message.nodes},
        counted_sequence=message.counted_sequence,
        interval_s=interval_s,
    )


def check_subscribe(message: balance_pb2.Subscribe) -> None:
    """Raise InvalidInputError unless service, client and zone are as they must be."""
    faults = _Faults()
    faults.name("subscribe.service", message.service)
    faults.text("subscribe.client_id", message.client_id, 1, 128)
    faults.text("subscribe.zone", message.zone, 0, 128)
    faults.done("INVALID_SUBSCRIPTION")
