"""Withdraw a node: no new calls, and those that it has run to their end.

Prints the progress and returns when the node can be stopped without breaking a call.
Interrupting the command does not end the withdrawal; `meshlb undrain` does.

exit codes: 0 drained (or ordered, with --no-wait), 1 failed, no controller there or not within
--limit, 2 called wrongly, 3 refused, or given new calls again meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid

import grpc

from meshlb.cli import _ask, _drain, _times
from meshlb.errors import ConflictError, UnavailableError
from meshlb.v1 import balance_pb2, balance_pb2_grpc

PATIENCE_S = 60.0
RETRY_S = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    _drain.arguments(parser)
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="why, for those who look later"
    )
    parser.add_argument(
        "--limit", metavar="SPAN", help="wait no longer, such as 10m; the withdrawal goes on"
    )
    parser.add_argument("--no-wait", action="store_true", help="order it and return")


def run(args: argparse.Namespace) -> int:
    """Order it, and print how far it has come until it is done."""
    limit_s = None if args.limit is None else _times.span(args.limit, "--limit")
    service = _drain.service_of(_ask.place(args), args.node, args.service)
    request = balance_pb2.DrainNodeRequest(
        service=service, node_id=args.node, request_id=args.request_id or str(uuid.uuid4()),
        reason=args.reason,
    )  # fmt: skip
    try:
        return _follow(args, request, limit_s)
    except KeyboardInterrupt:
        print(
            f"\nmeshlb: {args.node} goes on draining; end that with: meshlb undrain {args.node}",
            file=sys.stderr,
        )
        raise


def _follow(
    args: argparse.Namespace, request: balance_pb2.DrainNodeRequest, limit_s: float | None
) -> int:
    give_up = None if limit_s is None else time.monotonic() + limit_s
    heard, ordered, gone, shown = time.monotonic(), False, False, ""
    while True:
        problem = "the stream ended"
        try:
            with _ask.place(args).channel() as channel:
                left = None if give_up is None else max(0.001, give_up - time.monotonic())
                stub = balance_pb2_grpc.BalanceServiceStub(channel)
                for told in stub.DrainNode(request, timeout=left):
                    heard, ordered, gone = time.monotonic(), True, False
                    line = (
                        _ask.as_json(told, one_line=True) if args.json else _line(args.node, told)
                    )
                    if line != shown:
                        print(line, flush=True)
                    shown = line
                    if told.drained or args.no_wait:
                        return 0
            if ordered:
                raise ConflictError(
                    f"node {args.node!r} is not drained: it was given new calls again, or is gone"
                )
        except grpc.RpcError as error:
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if late and ordered and limit_s is not None:
                raise UnavailableError(
                    f"--limit: {args.node} not drained in {_times.length(limit_s)}; it goes on"
                ) from error
            # An order that was given outlives the stream, and a controller that comes again
            # goes on with it: asking again with the same request_id only listens.
            if not ordered or error.code() is not grpc.StatusCode.UNAVAILABLE:
                _ask.failed(_ask.place(args), error)
            problem = str(error.details())
        if time.monotonic() - heard > PATIENCE_S:
            raise UnavailableError(f"controller = {args.controller!r}: {problem}")
        if not gone:
            print(f"meshlb: controller gone ({problem}); trying again", file=sys.stderr)
        gone = True
        time.sleep(RETRY_S)


def _line(node: str, told: balance_pb2.DrainNodeResponse) -> str:
    if told.drained:
        return f"{node}: drained; it can be stopped without breaking a call"
    waiting = told.waiting_for or "what the controller does not name"
    calls = f"{told.in_flight_count:.0f} in flight, " if told.HasField("in_flight_count") else ""
    return f"{node}: {'' if 'in flight' in waiting else calls}waits for {waiting}"
