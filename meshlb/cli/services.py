"""List the services that a controller knows, and what it has refused."""

from __future__ import annotations

import argparse
from datetime import UTC

from google.protobuf import json_format

from meshlb.cli import _ask
from meshlb.v1 import balance_pb2

HEAD = ("SERVICE", "NODES", "ACTIVE", "CLIENTS", "IN FLIGHT", "WAITING", "PICKER")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    _ask.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    request = balance_pb2.ListServicesRequest()
    answer = _ask.ask(_ask.place(args), lambda s: s.ListServices(request, timeout=_ask.LIMIT_S))
    if args.json:
        print(json_format.MessageToJson(answer, always_print_fields_with_no_presence=True))
        return 0
    rows = [
        (
            s.service, str(s.node_count), str(s.active_node_count), str(s.client_count),
            f"{s.in_flight_count:.0f}", str(s.waiting_count), s.picker,
        )
        for s in answer.services
    ]  # fmt: skip
    print(_ask.table(HEAD, rows) if rows else "no services yet: no sidecar or client has come")
    for one in answer.refusals:
        at = one.last_time.ToDatetime(UTC).astimezone().strftime("%H:%M:%S")
        print(
            f"refused   {one.count} x {one.call}: {one.reason}, last at {at} from {one.last_peer} "
            f"({one.last_identity})"
        )
    if answer.slowed_count:
        print(f"slowed    {answer.slowed_count} messages came faster than ordered")
    return 0
