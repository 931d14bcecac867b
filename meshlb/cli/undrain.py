"""Give a withdrawn node new calls again."""

from __future__ import annotations

import argparse
import uuid

from meshlb.cli import _ask, _drain
from meshlb.v1 import balance_pb2


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    _drain.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Order it."""
    service = _drain.service_of(_ask.place(args), args.node, args.service)
    request = balance_pb2.UndrainNodeRequest(
        service=service, node_id=args.node, request_id=args.request_id or str(uuid.uuid4())
    )
    answer = _ask.ask(_ask.place(args), lambda s: s.UndrainNode(request, timeout=_ask.LIMIT_S))
    print(_ask.as_json(answer) if args.json else f"{args.node}: gets new calls again")
    return 0
