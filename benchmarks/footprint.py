"""Memory and CPU of one sidecar at 10 reports a second, with ORCA from the server at the same pace.

The server runs in a process of its own, and so do controller and sidecar; psutil looks on. The
last line is an idle client's: what a subscription costs a caller that does not call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import psutil
from machine import cpu_seconds, describe
from processes import Processes

SERVER = """
import asyncio, grpc.aio
from meshlb import orca
async def main():
    recorder = orca.LoadRecorder(slots=4)
    for n in range(16):
        recorder.begin(0.0).end(True, 0.01 * n)
    server = grpc.aio.server(interceptors=[orca.aio_server_interceptor(recorder)])
    orca.add_service(server, recorder)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""
CLIENT = """
import sys, time, grpc, meshlb
channel = meshlb.insecure_channel(sys.argv[1])
channel.subscribe(lambda state: print(state, flush=True), try_to_connect=True)
time.sleep(600)
"""


def look(pid: int, seconds: float) -> dict[str, float]:
    """Return what a process uses over so many seconds."""
    process = psutil.Process(pid)
    used, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    memory = process.memory_full_info()
    spent = cpu_seconds(pid) - used
    return {
        "rss_mb": memory.rss / 1e6,
        "uss_mb": memory.uss / 1e6,
        "cpu_percent": 100 * spent / (time.monotonic() - began),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(describe())
    with Processes() as processes:
        server = processes.python("-c", SERVER)
        assert server.stdout is not None
        port = int(server.stdout.readline())
        controller, _ = processes.controller()
        (sidecar,) = processes.sidecars(controller, "bench", [port], 4)
        client = processes.python("-c", CLIENT, f"mesh://{controller}/bench")
        time.sleep(min(5, args.seconds))
        found = {
            "sidecar": look(sidecar.pid, args.seconds),
            "idle client": look(client.pid, args.seconds),
        }
    for name, one in found.items():
        print(
            f"{name}: {one['rss_mb']:.1f} MB resident, {one['uss_mb']:.1f} MB of its own, "
            f"{one['cpu_percent']:.2f} % of a core"
        )
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), **found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
