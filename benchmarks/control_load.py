"""The emulated sidecars and the emulated clients of ``control_plane.py``, each set a process.

    python control_load.py sidecars|clients HOST:PORT OPTIONS-AS-JSON

They speak the real protocol. Each prints "ready" once all of its streams are open, reads
"FROM UNTIL" (monotonic seconds, the counted window) and prints what it saw as one line of JSON,
``late_s`` after the window, so that changes made within it are still seen.
Sidecars keep one report a second whatever the controller orders, since the question is what it can
carry; their figures move as a live server's do. Clients that call also send a whole count of their
nodes at the pace that the controller orders.

Long because both halves share one way to open streams and to count.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc.aio

from meshlb import wire, wire_time
from meshlb.model import CallReport, Health, LatencyBucket, LoadReport, NodeCalls, NodeInfo
from meshlb.v1 import balance_pb2, load_pb2, routing_pb2

SERVICE = "/meshlb.v1.BalanceService/"
REPORT_S = 1.0
MOVED_NODES, MOVED_CALLS = 16, 3
"""Nodes that a client called since its last report, and calls of each: 2,000 nodes and 200 clients
then see about as many calls as the servers report."""


def open_channels(controller: str, streams: int, per_connection: int) -> list[grpc.aio.Channel]:
    """Return enough connections, none of them shared with another process or channel."""
    count = -(-streams // per_connection)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [grpc.aio.insecure_channel(controller, options) for _ in range(count)]


def stream_of(channel: grpc.aio.Channel, method: str, response: Any = None) -> Any:
    """Open one stream of protobuf messages; responses stay bytes unless a type is given."""
    decode = None if response is None else response.FromString
    return channel.stream_stream(
        SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=decode,
    )()


async def until(condition: Callable[[], bool], tasks: list[asyncio.Task[None]]) -> None:
    """Wait for a condition that the tasks are to bring about; none of them ends meanwhile."""
    while not condition():
        ended = [task for task in tasks if task.done()]
        if ended:
            ended[0].result()
            raise RuntimeError("a stream ended while others were still being opened")
        await asyncio.sleep(0.05)


class Window:
    """The counted part of the run, told on standard input."""

    def __init__(self) -> None:
        self.starts_at = self.ends_at = float("inf")
        self._cpu = 0.0

    async def told(self) -> None:
        """Say that all is open, wait for the window, and for its start."""
        print("ready", flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        self.starts_at, self.ends_at = (float(part) for part in line.split())
        await asyncio.sleep(max(0.0, self.starts_at - time.monotonic()))
        self._cpu = time.process_time()

    async def over(self) -> float:
        """Wait for the window's end; return the part of a core that this process used."""
        await asyncio.sleep(max(0.0, self.ends_at - time.monotonic()))
        return (time.process_time() - self._cpu) / (self.ends_at - self.starts_at)

    def open(self, now: float) -> bool:
        """Return whether ``now`` counts."""
        return self.starts_at <= now < self.ends_at


class Sidecar:
    """One report stream, its figures moving around a model server's."""

    def __init__(self, number: int, services: int, rng: random.Random) -> None:
        self._rng = rng
        self.node_id = f"node-{number}"
        node = NodeInfo(
            service=f"service-{number % services}", node_id=self.node_id, incarnation=1 + number,
            address=f"10.{number // 62500}.{number // 250 % 250}.{number % 250}:8000",
        )  # fmt: skip
        self.base_s = rng.choice((0.04, 0.08, 0.16))
        buckets = tuple(LatencyBucket(at, 0, 0.0) for at in range(6))
        report = wire.load_report_to_pb(
            LoadReport(
                node, health=Health.SERVING, in_flight=3, queued=0, succeeded=0, failed=0,
                host_cpu=0.5, host_memory=0.4, process_cpu_cores=1.0, application=0.5,
                requests_per_s=20.0, errors_per_s=0.0, process_memory_bytes=10**9, latency=buckets,
            )
        )  # fmt: skip
        self.request = balance_pb2.ReportLoadRequest(report=report)
        self.report: load_pb2.LoadReport = self.request.report
        self.sums_s = [0.0] * len(buckets)
        self.flip = False

    def move(self) -> bool:
        """Bring the figures to this second; return whether its health flipped."""
        draw = self._rng.random
        report = self.report
        report.in_flight_count = int(draw() * 7)
        report.host_cpu_utilization = 0.4 + 0.2 * draw()
        report.application_utilization = 0.4 + 0.2 * draw()
        report.succeeded_count += 20
        for at, bucket in enumerate(report.latency):
            bucket.call_count += 4
            found_s = self.base_s * (1 + max(0, at + 1 - 4) / 4)
            self.sums_s[at] += 4 * found_s * (0.5 + draw())
            bucket.latency_sum.FromNanoseconds(int(self.sums_s[at] * 1e9))
        flipped, self.flip = self.flip, False
        if flipped:
            well = load_pb2.HEALTH_SERVING
            report.health = load_pb2.HEALTH_NOT_SERVING if report.health == well else well
        return flipped

    @property
    def sick(self) -> bool:
        """Whether its last report said that the health check fails."""
        return self.report.health == load_pb2.HEALTH_NOT_SERVING


async def write(call: Any, message: Any) -> None:
    """Send one message; raise with the status of a stream that has ended."""
    try:
        await call.write(message)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError) as error:
        code, details = await call.code(), await call.details()
        raise ConnectionError(f"{code.name}: {details}") from error


async def sidecars(controller: str, options: dict[str, Any]) -> dict[str, Any]:
    """Report for all nodes; flip some nodes' health; return when each flip was sent."""
    count, window, rng = options["streams"], Window(), random.Random(1)
    channels = open_channels(controller, count, options["per_connection"])
    nodes = [Sidecar(number, options["services"], rng) for number in range(count)]
    opening = asyncio.Semaphore(100)
    flips: list[tuple[str, bool, float]] = []
    lateness_s: list[float] = []
    reports = 0
    opened = 0

    async def report(number: int) -> None:
        nonlocal reports, opened
        node = nodes[number]
        # A server rejects streams at random while over a thousand wait to be taken up.
        async with opening:
            call = stream_of(channels[number % len(channels)], "ReportLoad")
            await write(call, node.request)
            await call.read()  # the order: the stream is taken up
        opened += 1
        next_at = time.monotonic() + REPORT_S * rng.random()
        while True:
            wait_s = next_at - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            flipped = node.move()
            now = time.monotonic()
            await write(call, node.request)
            if window.open(now):
                reports += 1
                lateness_s.append(now - next_at)
                if flipped:
                    flips.append((node.node_id, node.sick, now))
            next_at += REPORT_S

    tasks = [asyncio.create_task(report(number)) for number in range(count)]
    await until(lambda: opened == count, tasks)
    await window.told()

    async def flip() -> None:
        gap_s = 1 / options["flips_per_s"]
        stop_at = window.ends_at - 2 * REPORT_S
        while time.monotonic() < stop_at:
            nodes[rng.randrange(count)].flip = True
            await asyncio.sleep(gap_s)

    flipping = asyncio.create_task(flip())
    cpu = await window.over()
    await asyncio.sleep(options["late_s"])  # a stream that ended would make nodes look silent
    broken = [repr(task.exception()) for task in tasks if task.done()]
    for task in (flipping, *tasks):
        task.cancel()
    await asyncio.gather(flipping, *tasks, return_exceptions=True)
    late = sorted(lateness_s) or [0.0]
    return {
        "cpu": cpu, "reports": reports, "broken": broken[:3], "ended": len(broken), "flips": flips,
        "late_p99_s": late[int(len(late) * 0.99)],
    }  # fmt: skip


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
                interval_s[0] = wire_time.seconds(order.report_interval)

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
    broken = [repr(task.exception()) for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    subsets = [list(one.sick) for one in all_]
    return {
        "cpu": cpu, **got, "broken": broken[:3], "ended": len(broken), "seen": seen,
        "subsets": subsets,
    }  # fmt: skip


if __name__ == "__main__":
    role = {"sidecars": sidecars, "clients": clients}[sys.argv[1]]
    print(json.dumps(asyncio.run(role(sys.argv[2], json.loads(sys.argv[3])))), flush=True)
