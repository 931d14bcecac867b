"""Memory and CPU of one sidecar at ten reports a second with ORCA, and of a client that is idle.

The sidecar reports to a counting receiver that orders ten a second, and reads a server whose ORCA
figures move all the time. Clients have made one call and sit still: one over plain gRPC, one over
the stub, and one over the stub while others keep the service busy, so that shares are pushed.
Every program is a process of its own; psutil looks on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from machine import cpu_seconds, describe, memory_mb, verdict
from processes import Processes

from meshlb import wire_time
from meshlb.v1 import balance_pb2, balance_pb2_grpc

INTERVAL_S = 0.1
REACH_MB, REACH_CPU_PERCENT = 50.0, 2.0
SERVER = """
import asyncio, sys, time, grpc, grpc.aio
from meshlb import orca
async def main(busy):
    recorder = orca.LoadRecorder(slots=4)
    async def echo(request, context):
        return request
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server = grpc.aio.server(interceptors=[orca.aio_server_interceptor(recorder)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("plain.Plain", {"Serve": handler}),)
    )
    orca.add_service(server, recorder)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    open_ = []
    while busy:
        open_.append((recorder.begin(time.monotonic())))
        if len(open_) > 1 + int(time.monotonic() * 10) % 6:
            open_.pop(0).end(True, time.monotonic())
        await asyncio.sleep(0.02)
    await server.wait_for_termination()
asyncio.run(main(sys.argv[1] == "busy"))
"""
CLIENT = """
import sys, time, grpc
if sys.argv[1].startswith("mesh:"):
    import meshlb
    channel = meshlb.insecure_channel(sys.argv[1])
else:
    channel = grpc.insecure_channel(sys.argv[1])
channel.unary_unary("/plain.Plain/Serve")(b"x", timeout=30)
print("called", flush=True)
time.sleep(3600)
"""


class Receiver(balance_pb2_grpc.BalanceServiceServicer):
    """Takes reports as a controller does, orders their pace, and counts them."""

    def __init__(self) -> None:
        self.reports = 0
        self.with_orca = 0

    def ReportLoad(  # noqa: N802
        self, requests: Iterator[balance_pb2.ReportLoadRequest], context: Any
    ) -> Iterator[balance_pb2.ReportLoadResponse]:
        """Order the pace at the first report; count all."""
        del context
        ordered = False
        for request in requests:
            self.reports += 1
            self.with_orca += len(request.report.latency) > 0
            if not ordered:
                ordered = True
                yield balance_pb2.ReportLoadResponse(report_interval=wire_time.duration(INTERVAL_S))


def look(pids: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Return what each process uses over so many seconds."""
    used, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began
    found = {}
    for name, pid in pids.items():
        rss, uss = memory_mb(pid)
        cpu = 100 * (cpu_seconds(pid) - used[name]) / elapsed_s
        found[name] = {"rss_mb": rss, "uss_mb": uss, "cpu_percent": cpu}
    return found


def server(processes: Processes, how: str) -> int:
    """Start a server with ORCA; return its port."""
    one = processes.python("-c", SERVER, how)
    assert one.stdout is not None
    return int(one.stdout.readline())


def client(processes: Processes, target: str) -> int:
    """Start a client, wait until it has called, and return its pid."""
    one = processes.python("-c", CLIENT, target, quiet=False)
    if one.stdout is None or one.stdout.readline() != "called\n":
        raise RuntimeError(f"the client of {target} could not call")
    return one.pid


def measure(seconds: float, settle: float) -> dict[str, Any]:
    """Start all, let them settle, and look at them together."""
    receiver = Receiver()
    counting = grpc.server(futures.ThreadPoolExecutor(4))
    balance_pb2_grpc.add_BalanceServiceServicer_to_server(receiver, counting)
    counting_port = counting.add_insecure_port("127.0.0.1:0")
    counting.start()
    try:
        return look_at_all(receiver, counting_port, seconds, settle)
    finally:
        counting.stop(0).wait()


def look_at_all(receiver: Receiver, port: int, seconds: float, settle: float) -> dict[str, Any]:
    """Start the programs; return what each used, and what the receiver on ``port`` counted."""
    with Processes() as processes:
        busy, still = server(processes, "busy"), server(processes, "still")
        sidecar = processes.sidecar(f"127.0.0.1:{port}", "bench", busy, 4)
        controller, _ = processes.controller()
        processes.sidecars(controller, "still", [still], None)
        processes.sidecars(controller, "busy", [busy], None, known=1)
        pids = {
            "sidecar": sidecar.pid,
            "plain gRPC client": client(processes, f"127.0.0.1:{still}"),
            "client": client(processes, f"mesh://{controller}/still"),
            "client, others call": client(processes, f"mesh://{controller}/busy"),
        }
        time.sleep(settle)
        before = receiver.reports, receiver.with_orca
        found: dict[str, Any] = look(pids, seconds)
        found["reports_per_s"] = (receiver.reports - before[0]) / seconds
        found["with_orca_per_s"] = (receiver.with_orca - before[1]) / seconds
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="counted")
    parser.add_argument("--settle", type=float, default=5, help="not counted")
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.settle = 2.0, 1.0
    print(describe())
    found = measure(args.seconds, args.settle)
    print(f"\n{'':20} {'RSS MB':>7} {'USS MB':>7} {'% of a core':>12}")
    for name in ("sidecar", "plain gRPC client", "client", "client, others call"):
        one = found[name]
        print(f"{name:20} {one['rss_mb']:7.1f} {one['uss_mb']:7.1f} {one['cpu_percent']:12.2f}")
    print(
        f"the sidecar sent {found['reports_per_s']:.1f} reports a second, "
        f"{found['with_orca_per_s']:.1f} of them with figures from ORCA"
    )
    print(verdict("sidecar, MB resident", found["sidecar"]["rss_mb"], REACH_MB))
    print(verdict("sidecar, % of a core", found["sidecar"]["cpu_percent"], REACH_CPU_PERCENT))
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), **found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
