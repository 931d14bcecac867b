"""``meshlb-sidecar``: the arguments, and nothing else."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

if __name__ == "__main__" or "meshlb-sidecar" in sys.argv[0]:
    # structlog loads rich, where that is installed, for tracebacks that are never drawn here: 4 MB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

import structlog

from meshlb import checks, logs, wire
from meshlb.errors import InvalidInputError
from meshlb.model import NodeInfo
from meshlb.security import client_tls
from meshlb.security.client_tls import Tls
from meshlb.security.identity import is_loopback
from sidecar.agent import Agent

log = structlog.get_logger()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = _Parser(
        prog="meshlb-sidecar",
        allow_abbrev=False,
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
    made.add_argument("--slots", metavar="N", help="calls it serves at once (default: learned)")
    made.add_argument("--zone", default="", help="failure domain, such as eu-1a")
    made.add_argument(
        "--label", action="append", default=[], metavar="K=V", help="may be given several times"
    )
    made.add_argument("--authority", default="", help="HTTP/2 authority and TLS name of the node")
    made.add_argument(
        "--pid", metavar="PID", help="process of the server (default: found by its port)"
    )
    made.add_argument(
        "--drain-on-exit", action="store_true", help="withdraw the node when the sidecar ends"
    )
    made.add_argument(
        "--join-when-serving",
        action="store_true",
        help="say nothing of the node before its server first serves",
    )
    for name, about in (
        ("ca", "authority that signed the controllers' certificates"),
        ("cert", "our own certificate, for the controllers"),
        ("key", "its private key"),
        ("token-file", "file with a bearer token, for the controllers"),
        ("node-ca", "authority that signed the model server's certificate, if it has TLS"),
        ("node-cert", "our own certificate, if the model server asks for one"),
        ("node-key", "its private key"),
    ):
        variable = f"MESHLB_{name.upper().replace('-', '_')}"
        made.add_argument(
            f"--{name}",
            metavar="FILE",
            default=os.environ.get(variable, ""),
            help=f"{about} ({variable})",
        )
    made.add_argument("--log-level", default="info", choices=logs.LEVELS)
    return made


def node_info(args: argparse.Namespace, incarnation: int) -> NodeInfo:
    """Return the node that the arguments describe; InvalidInputError with all their faults."""
    texts = {
        "--service": args.service,
        "--node": args.node,
        "--node-id": args.node_id,
        "--zone": args.zone,
        "--authority": args.authority,
        "--label": "".join(args.label),
    }
    for argument, text in texts.items():
        if not text.isprintable():  # bytes that are no UTF-8 among them
            raise InvalidInputError(f"{argument} = {text[:140]!r}: printable UTF-8")
    faults = [f"--label = {label!r}: K=V" for label in args.label if "=" not in label]
    node = NodeInfo(
        service=args.service,
        node_id=args.node_id or args.node,
        incarnation=incarnation,
        address=args.node,
        authority=args.authority,
        zone=args.zone,
        labels=dict(label.partition("=")[::2] for label in args.label if "=" in label),
        slots=_whole(args.slots, "--slots", 1_000_000, faults),
    )
    args.pid = _whole(args.pid, "--pid", 2**31 - 1, faults)
    for controller in args.controller.split(","):
        try:
            checks.parse_address(controller)
        except InvalidInputError as error:
            faults.append(f"--controller = {controller!r}: {error.faults[0].partition(': ')[2]}")
    try:
        wire.node_info_from_pb(wire.node_info_to_pb(node))
    except InvalidInputError as error:
        faults += [_of_argument(fault) for fault in error.faults if args.node_id or not
                   fault.startswith("node.node_id")]  # fmt: skip
    if faults:
        raise InvalidInputError(faults)
    return node


def _whole(text: str | None, argument: str, most: int, faults: list[str]) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        faults.append(f"{argument} = {text!r}: a whole number from 1 to {most}")
        return None
    return int(text)


def _of_argument(fault: str) -> str:
    """Return a fault of a NodeInfo under the name of the argument that it came from."""
    field = fault.removeprefix("node.")
    for name, argument in (("node_id", "--node-id"), ("address", "--node"), ("labels", "--label")):
        if field.startswith(name):
            return argument + field.removeprefix(name)
    return f"--{field}"


def _tls(args: argparse.Namespace) -> tuple[Tls | None, Tls | None]:
    """Return what is for the controllers, and for the server; None: plain text."""

    def note(event: str, text: str) -> None:
        if event == "certificates_changed":
            log.info(event, files=text)
        else:
            log.error(event, problem=text)

    made: list[Tls | None] = []
    for prefix in ("", "node_"):
        ca, cert, key = (getattr(args, prefix + name) or None for name in ("ca", "cert", "key"))
        made.append(Tls(ca=ca, cert=cert, key=key, note=note) if ca or cert or key else None)
    client_tls.bearer(args.token_file)
    for controller in args.controller.split(","):
        if made[0] is None:
            client_tls.check_bearer_way(controller, args.token_file)
            if not is_loopback(checks.parse_address(controller)[0]):
                log.warning(
                    "plain_text",
                    controller=controller,
                    problem="reports go over the network as anybody could send them; --ca, --cert "
                    "and --key make them our own",
                )
    return made[0], made[1]


async def _run(args: argparse.Namespace, node: NodeInfo, tls: tuple[Tls | None, ...]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(
        node,
        args.controller.split(","),
        args.pid,
        args.drain_on_exit,
        args.join_when_serving,
        tls[0],
        args.token_file,
        tls[1],
    )
    await agent.run(stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sidecar; 0 after an orderly stop, 2 for wrong arguments."""
    args = parser().parse_args(argv)
    logs.configure(args.log_level)
    try:
        node = node_info(args, time.time_ns() // 1000)
        tls = _tls(args)
    except InvalidInputError as error:
        for fault in error.faults:
            print(f"meshlb-sidecar: {fault}", file=sys.stderr)  # noqa: T201
        return 2
    asyncio.run(_run(args, node, tls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
