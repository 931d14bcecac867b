"""How many sidecars and watchers one controller carries, and how fast a change goes through.

S report streams at one report a second, spread over a few connections, and W WatchRoutes streams
over all of them as one service's nodes and clients. Every second one node's health flips; the
latency is from sending that report to each watcher's having a table that shows it, among the
watchers whose subset holds the node. CPU is of the controller's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
from machine import describe
from processes import Processes, cpu_seconds

from meshlb import wire
from meshlb.model import Health, LoadReport, NodeInfo, NodeState
from meshlb.v1 import balance_pb2, balance_pb2_grpc

CHANNELS = 4
SERVICES = 20


class Load:
    """The emulated sidecars and clients, in one event loop."""

    def __init__(self, controller: str, streams: int, watchers: int) -> None:
        self.streams, self.watchers = streams, watchers
        self.latencies_s: list[float] = []
        self.reports = 0
        self.tables = 0
        self.connected = 0
        self._flips: dict[str, tuple[bool, float]] = {}
        self._channels = [
            grpc.aio.insecure_channel(controller, [("grpc.use_local_subchannel_pool", 1)])
            for _ in range(CHANNELS)
        ]
        self._stubs = itertools.cycle(
            [balance_pb2_grpc.BalanceServiceStub(c) for c in self._channels]
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open all streams; return when every watcher has a table."""
        for number in range(self.streams):
            self._tasks.append(asyncio.create_task(self._sidecar(number)))
            if number % 50 == 49:
                await asyncio.sleep(0.02)
        for number in range(self.watchers):
            self._tasks.append(asyncio.create_task(self._watcher(number)))
        while self.connected < self.watchers:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Close all streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    async def flip(self, number: int) -> None:
        """Let one node's health change with its next report."""
        node_id = f"node-{number}"
        sick = not self._flips.get(node_id, (False, 0.0))[0]
        self._flips[node_id] = (sick, 0.0)

    async def _sidecar(self, number: int) -> None:
        node_id = f"node-{number}"
        node = NodeInfo(
            f"service-{number % SERVICES}",
            node_id,
            1 + number,
            f"10.0.{number // 250}.{number % 250}:80",
        )
        well = wire.load_report_to_pb(
            LoadReport(node, health=Health.SERVING, host_cpu=0.5, host_memory=0.5, in_flight=3)
        )
        sick = wire.load_report_to_pb(LoadReport(node, health=Health.NOT_SERVING, host_cpu=0.5))

        async def reports() -> AsyncIterator[balance_pb2.ReportLoadRequest]:
            next_at = time.monotonic() + number / self.streams
            while True:
                is_sick, sent_at = self._flips.get(node_id, (False, 1.0))
                if sent_at == 0.0:
                    self._flips[node_id] = (is_sick, time.monotonic())
                yield balance_pb2.ReportLoadRequest(report=sick if is_sick else well)
                self.reports += 1
                next_at += 1.0
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))

        async for _ in next(self._stubs).ReportLoad(reports()):
            pass

    async def _watcher(self, number: int) -> None:
        asks: asyncio.Queue[balance_pb2.WatchRoutesRequest] = asyncio.Queue()
        subscribe = balance_pb2.Subscribe(
            service=f"service-{number % SERVICES}", client_id=f"client-{number}"
        )
        await asks.put(balance_pb2.WatchRoutesRequest(subscribe=subscribe))

        async def requests() -> AsyncIterator[balance_pb2.WatchRoutesRequest]:
            while True:
                yield await asks.get()

        states: dict[str, Any] = {}
        sick_state = wire.STATES[NodeState.UNHEALTHY]
        async for message in next(self._stubs).WatchRoutes(requests()):
            if not message.HasField("table"):
                continue
            now = time.monotonic()
            self.tables += 1
            table = message.table
            if not states:
                self.connected += 1
            for node in table.nodes:
                if states and states.get(node.node_id) not in (None, node.state):
                    is_sick, sent_at = self._flips.get(node.node_id, (False, 0.0))
                    if sent_at > 0 and is_sick == (node.state == sick_state):
                        self.latencies_s.append(now - sent_at)
            states = {node.node_id: node.state for node in table.nodes} or {"": 0}
            ack = balance_pb2.TableAck(epoch=table.epoch, version=table.version)
            await asks.put(balance_pb2.WatchRoutesRequest(ack=ack))


async def measure(streams: int, watchers: int, seconds: float) -> dict[str, float]:
    """Return one size's figures."""
    with Processes() as processes:
        controller, process = processes.controller()
        await asyncio.sleep(2)
        load = Load(controller, streams, watchers)
        await load.start()
        await asyncio.sleep(5)
        load.latencies_s.clear()
        before, reports, tables = cpu_seconds(process.pid), load.reports, load.tables
        own, began = time.process_time(), time.monotonic()
        for number in range(int(seconds)):
            await load.flip(number * 7 % streams)
            await asyncio.sleep(1)
        elapsed_s = time.monotonic() - began
        latencies = sorted(load.latencies_s) or [float("nan")]
        found = {
            "streams": streams,
            "watchers": watchers,
            "reports_per_s": (load.reports - reports) / elapsed_s,
            "tables_per_s": (load.tables - tables) / elapsed_s,
            "controller_cpu": (cpu_seconds(process.pid) - before) / elapsed_s,
            "load_cpu": (time.process_time() - own) / elapsed_s,
            "controller_rss_mb": psutil.Process(process.pid).memory_info().rss / 1e6,
            "changes_seen": len(load.latencies_s),
            "p50_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        }
        await load.stop()
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["1000x100", "2000x200", "4000x400", "8000x800"],
        help="report streams x watchers",
    )
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        streams, watchers = (int(part) for part in args.one.split("x"))
        print(json.dumps(asyncio.run(measure(streams, watchers, args.seconds))))
        return 0
    print(describe())
    print(
        f"{'streams':>8} {'watchers':>9} {'reports/s':>10} {'tables/s':>9} {'CPU':>5}"
        f" {'load CPU':>9} {'MB':>6} {'changes':>8} {'p50 ms':>7} {'p99 ms':>7}"
    )
    runs = []
    for size in args.sizes:
        # Each size in a process of its own: gRPC's asyncio side is used up with its first loop.
        command = [sys.executable, __file__, "--one", size, "--seconds", str(args.seconds)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        one = json.loads(ran.stdout)
        runs.append(one)
        print(
            f"{one['streams']:8} {one['watchers']:9} {one['reports_per_s']:10.0f}"
            f" {one['tables_per_s']:9.0f} {one['controller_cpu']:5.0%} {one['load_cpu']:9.0%}"
            f" {one['controller_rss_mb']:6.0f} {one['changes_seen']:8.0f} {one['p50_ms']:7.0f}"
            f" {one['p99_ms']:7.0f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "runs": runs}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
