"""List the services that a controller knows."""

from __future__ import annotations

import argparse

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
    answer = _ask.ask(args.controller, lambda s: s.ListServices(request, timeout=_ask.LIMIT_S))
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
    return 0
