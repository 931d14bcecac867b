"""List nodes with state, load, weight and learned speed."""

from __future__ import annotations

import argparse

from google.protobuf import json_format

from meshlb.cli import _ask
from meshlb.v1 import balance_pb2, routing_pb2
from meshlb.wire_time import seconds

HEAD = (
    "SERVICE", "NODE", "ADDRESS", "STATE", "IN FLIGHT", "WEIGHT", "BASE MS", "KNEE", "SLOTS",
    "CPU", "REPORT", "WHY",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    _ask.arguments(parser)
    parser.add_argument("--service", default="", help="only this one")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    request = balance_pb2.ListNodesRequest(service=args.service)
    answer = _ask.ask(_ask.place(args), lambda s: s.ListNodes(request, timeout=_ask.LIMIT_S))
    if args.json:
        print(json_format.MessageToJson(answer, always_print_fields_with_no_presence=True))
        return 0
    rows = [_row(node) for node in answer.nodes]
    print(_ask.table(HEAD, rows) if rows else "no nodes yet: no sidecar has reported")
    return 0


def _row(status: balance_pb2.NodeStatus) -> tuple[str, ...]:
    node, report = status.node, status.report
    curve = status.curve if status.HasField("curve") else None
    cpu = report.HasField("host_cpu_utilization")
    return (
        node.service,
        node.node_id,
        node.address,
        routing_pb2.NodeState.Name(status.state).removeprefix("NODE_STATE_").lower(),
        f"{status.in_flight_count:.1f}",
        f"{status.weight:.2f}",
        "-" if curve is None else f"{seconds(curve.base) * 1000:.1f}",
        "-" if curve is None else f"{curve.knee:.0f}",
        str(node.slot_count) if node.HasField("slot_count") else "-",
        f"{report.host_cpu_utilization:.0%}" if cpu else "-",
        f"{seconds(status.report_age):.1f} s ago",
        status.reason,
    )
