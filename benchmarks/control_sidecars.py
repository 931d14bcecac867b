"""The emulated sidecars of ``control_plane.py``: python control_sidecars.py HOST:PORT OPTIONS.

They keep one report a second whatever the controller orders, since the question is what it can
carry; their figures move as a live server's do.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from control_streams import Window, end_all, open_channels, run, stream_of, until, write

from meshlb import wire
from meshlb.model import Health, LatencyBucket, LoadReport, NodeInfo
from meshlb.v1 import balance_pb2, load_pb2

REPORT_S = 1.0


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
    flipping.cancel()
    broken = await end_all(tasks)
    late = sorted(lateness_s) or [0.0]
    return {
        "cpu": cpu, "reports": reports, "broken": broken[:3], "ended": len(broken), "flips": flips,
        "late_p99_s": late[int(len(late) * 0.99)],
    }  # fmt: skip


if __name__ == "__main__":
    run(sidecars)
