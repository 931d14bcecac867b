"""The emulated clients of ``control_plane.py``: python control_clients.py HOST:PORT OPTIONS.

Those that call also send a whole count of their nodes at the pace that the controller orders.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from control_streams import Window, end_all, open_channels, run, stream_of, until, write

from meshlb import wire
from meshlb.model import CallReport, NodeCalls
from meshlb.v1 import balance_pb2, load_pb2, routing_pb2
from meshlb.wire_time import seconds

MOVED_NODES, MOVED_CALLS = 16, 3
"""Nodes that a client called since its last report, and calls of each: 2,000 nodes and 200 clients
then see about as many calls as the servers report."""


class Client:
    """One client: its table as it sees it, and what it says of its calls."""

    def __init__(self, number: int, services: int) -> None:
        self.client_id = f"client-{number}"
        self.service = f"service-{number % services}"
        self.sick: dict[str, bool] = {}
        self.report: load_pb2.CallReport | None = None
        self._rng = random.Random(number)

    def take(self, table: routing_pb2.RoutingTable) -> list[tuple[str, bool]]:
        """Take a table; return the nodes whose health it shows changed."""
        unhealthy = routing_pb2.NODE_STATE_UNHEALTHY
        now = {node.node_id: node.state == unhealthy for node in table.nodes}
        old, self.sick = self.sick, now
        return [(node_id, sick) for node_id, sick in now.items() if old.get(node_id, sick) != sick]

    def count(self) -> balance_pb2.ReportCallsRequest:
        """Return its next counts: all nodes that it ever called, a few of them moved."""
        if self.report is None:
            calls = tuple(NodeCalls(n, 0, 10, 10, in_flight_time_s=0.5) for n in self.sick)
            self.report = wire.call_report_to_pb(CallReport(self.service, self.client_id, 0, calls))
        self.report.sequence += 1
        nodes = self.report.nodes
        first = self._rng.randrange(len(nodes))
        for at in range(first, first + min(MOVED_NODES, len(nodes))):
            calls_of = nodes[at % len(nodes)]
            calls_of.started_count += MOVED_CALLS
            calls_of.succeeded_count += MOVED_CALLS
            calls_of.in_flight_count = self._rng.randrange(3)
            calls_of.in_flight_time.FromMilliseconds(60 * calls_of.started_count)
        return balance_pb2.ReportCallsRequest(report=self.report)


async def clients(controller: str, options: dict[str, Any]) -> dict[str, Any]:
    """Watch as all clients; return when each saw each node's health change."""
    window, count, services = Window(), options["clients"], options["services"]
    channels = open_channels(controller, count, options["per_connection"])
    all_ = [Client(number, services) for number in range(count)]
    seen: list[tuple[str, bool, float, int]] = []
    got = {"tables": 0, "shares": 0, "reports": 0}

    async def watch(number: int) -> None:
        one = all_[number]
        channel = channels[number % len(channels)]
        call = stream_of(channel, "WatchRoutes", balance_pb2.WatchRoutesResponse)
        subscribe = balance_pb2.Subscribe(service=one.service, client_id=one.client_id)
        await write(call, balance_pb2.WatchRoutesRequest(subscribe=subscribe))
        async for message in call:
            now = time.monotonic()
            kind = message.WhichOneof("message")
            got[kind + "s"] += window.open(now)
            if kind == "share":
                continue
            table = message.table
            seen.extend((node_id, sick, now, number) for node_id, sick in one.take(table))
            ack = balance_pb2.TableAck(epoch=table.epoch, version=table.version)
            await write(call, balance_pb2.WatchRoutesRequest(ack=ack))

    async def say(number: int) -> None:
        call = stream_of(channels[number % len(channels)], "ReportCalls",
                         balance_pb2.ReportCallsResponse)  # fmt: skip
        interval_s = [0.1]

        async def obey() -> None:
            async for order in call:
                interval_s[0] = seconds(order.report_interval)

        obeying = asyncio.create_task(obey())
        try:
            while True:
                await write(call, all_[number].count())
                got["reports"] += window.open(time.monotonic())
                await asyncio.sleep(interval_s[0])
        finally:
            obeying.cancel()

    tasks = [asyncio.create_task(watch(number)) for number in range(count)]
    await until(lambda: all(one.sick for one in all_), tasks)
    if options["call"]:
        tasks += [asyncio.create_task(say(number)) for number in range(count)]
    await window.told()
    cpu = await window.over()
    await asyncio.sleep(options["late_s"])
    broken = await end_all(tasks)
    subsets = [list(one.sick) for one in all_]
    return {
        "cpu": cpu, **got, "broken": broken[:3], "ended": len(broken), "seen": seen,
        "subsets": subsets,
    }  # fmt: skip


if __name__ == "__main__":
    run(clients)
