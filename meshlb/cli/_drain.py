"""What ``meshlb drain`` and ``undrain`` share: which node is meant."""

from __future__ import annotations

import argparse

from meshlb.cli import _ask
from meshlb.errors import InvalidInputError
from meshlb.v1 import balance_pb2


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add NODE, --service, --request-id and those of all."""
    parser.add_argument("node", metavar="NODE", help="as `meshlb nodes` lists it")
    parser.add_argument(
        "--service", default="", help="needed only if nodes of several services have that name"
    )
    parser.add_argument(
        "--request-id", default="", metavar="ID", help="names this order; default a new one"
    )
    _ask.arguments(parser)


def service_of(place: _ask.Place, node_id: str, service: str) -> str:
    """Return the service that has the node, ``service`` if that is told.

    Raises InvalidInputError if no service has such a node, or several have.
    """
    if service:
        return service
    asked = balance_pb2.ListNodesRequest()
    nodes = _ask.ask(place, lambda s: s.ListNodes(asked, timeout=_ask.LIMIT_S)).nodes
    services: list[str] = sorted({one.node.service for one in nodes if one.node.node_id == node_id})
    if len(services) == 1:
        return services[0]
    if services:
        raise InvalidInputError(
            f"NODE = {node_id!r}: services {', '.join(services)} have such a node; add --service"
        )
    known = sorted({one.node.node_id for one in nodes})
    listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    allowed = f"one of {listed}" if listed else "there are no nodes yet"
    raise InvalidInputError(f"NODE = {node_id!r}: {allowed}")
