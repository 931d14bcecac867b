"""``meshlb-sidecar``: the arguments, and nothing else."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence

if __name__ == "__main__" or "meshlb-sidecar" in sys.argv[0]:
    # structlog loads rich, where that is installed, for tracebacks that are never drawn here: 4 MB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

from meshlb import logs, wire
from meshlb.errors import InvalidInputError
from meshlb.model import NodeInfo
from sidecar.agent import Agent


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="meshlb-sidecar",
        description="Streams one model server's load to the meshlb controllers.",
    )
    made.add_argument(
        "--controller", required=True, metavar="HOST:PORT[,HOST:PORT]", help="all get the reports"
    )
    made.add_argument("--service", required=True, help="service that the node serves")
    made.add_argument(
        "--node", required=True, metavar="HOST:PORT", help="where clients reach the model server"
    )
    made.add_argument("--node-id", default="", help="stable name of the node (default: --node)")
    made.add_argument("--slots", type=int, help="calls it serves at once (default: learned)")
    made.add_argument("--zone", default="", help="failure domain, such as eu-1a")
    made.add_argument(
        "--label", action="append", default=[], metavar="K=V", help="may be given several times"
    )
    made.add_argument("--authority", default="", help="HTTP/2 authority and TLS name of the node")
    made.add_argument("--pid", type=int, help="process of the server (default: found by its port)")
    made.add_argument(
        "--drain-on-exit", action="store_true", help="withdraw the node when the sidecar ends"
    )
    made.add_argument("--log-level", default="info", choices=logs.LEVELS)
    return made


def node_info(args: argparse.Namespace, incarnation: int) -> NodeInfo:
    """Return the node that the arguments describe; InvalidInputError with all their faults."""
    labels = dict(label.partition("=")[::2] for label in args.label)
    node = NodeInfo(
        service=args.service,
        node_id=args.node_id or args.node,
        incarnation=incarnation,
        address=args.node,
        authority=args.authority,
        zone=args.zone,
        labels=labels,
        slots=args.slots,
    )
    faults = [f"--label {label!r}: K=V" for label in args.label if "=" not in label]
    if args.pid is not None and args.pid < 1:
        faults.append(f"--pid = {args.pid}: 1 or more")
    for controller in args.controller.split(","):
        try:
            wire.parse_address(controller)
        except InvalidInputError:
            faults.append(f"--controller = {controller!r}: HOST:PORT or [IPV6]:PORT")
    try:
        wire.node_info_from_pb(wire.node_info_to_pb(node))
    except InvalidInputError as error:
        faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    return node


async def _run(args: argparse.Namespace, node: NodeInfo) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(node, args.controller.split(","), args.pid, args.drain_on_exit)
    await agent.run(stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sidecar; 0 after an orderly stop, 2 for wrong arguments."""
    args = parser().parse_args(argv)
    logs.configure(args.log_level)
    try:
        node = node_info(args, time.time_ns() // 1000)
    except InvalidInputError as error:
        for fault in error.faults:
            print(f"meshlb-sidecar: {fault}", file=sys.stderr)  # noqa: T201
        return 2
    asyncio.run(_run(args, node))
    return 0


if __name__ == "__main__":
    sys.exit(main())
