"""Asks servers and controller what goes on, while the demo runs; never in the calls' way.

Servers of both fleets tell their calls in flight by ORCA; the controller tells what it has learned.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import grpc
from google.protobuf.duration_pb2 import Duration
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2

from examples.demo.fleet import SERVICE, Server, Started
from examples.demo.state import BALANCERS, Fleet, Known, Run
from meshlb.orca.keys import IN_FLIGHT
from meshlb.v1 import balance_pb2, balance_pb2_grpc, routing_pb2

INTERVAL_S = 0.5
ORCA = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"


def known(nodes: Iterable[balance_pb2.NodeStatus]) -> dict[str, Known]:
    """Return what the controller knows, by address."""
    found = {}
    for node in nodes:
        state = routing_pb2.NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()
        entry = Known(state=state, reason=node.reason, weight=node.weight or None)
        if node.HasField("curve"):
            entry.base_s = node.curve.base.ToTimedelta().total_seconds()
            entry.slope_s = node.curve.slope.ToTimedelta().total_seconds()
        found[node.node.address] = entry
    return found


class Watch:
    """Keeps ``Run`` up to date."""

    def __init__(self, run: Run, started: Started) -> None:
        self._run = run
        self._started = started
        self._channel = grpc.aio.insecure_channel(started.controller)
        self._stub = balance_pb2_grpc.BalanceServiceStub(self._channel)
        self._tasks: list[asyncio.Task[None]] = []

    async def nodes(self) -> dict[str, Known]:
        """Return what the controller knows of each node, by the node's name; {} if nothing yet."""
        request = balance_pb2.ListNodesRequest(service=SERVICE)
        try:
            answer = await self._stub.ListNodes(request, timeout=2, wait_for_ready=True)
        except grpc.RpcError:  # no sidecar has reported yet, or the controller is busy
            return {}
        by_address = known(answer.nodes)
        ours = self._started.servers[BALANCERS[0]]
        return {s.name: by_address[s.address] for s in ours if s.address in by_address}

    def begin(self) -> None:
        """Watch in the background."""
        for balancer in BALANCERS:
            for server in self._started.servers[balancer]:
                watching = self._in_flight(self._run.fleets[balancer], server)
                self._tasks.append(asyncio.create_task(watching))
        self._tasks.append(asyncio.create_task(self._controller()))

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def _controller(self) -> None:
        while True:
            self._run.known = await self.nodes() or self._run.known
            await asyncio.sleep(INTERVAL_S)

    async def _in_flight(self, fleet: Fleet, server: Server) -> None:
        interval = Duration()
        interval.FromMilliseconds(int(INTERVAL_S * 1000))
        request = orca_pb2.OrcaLoadReportRequest(report_interval=interval)
        async with grpc.aio.insecure_channel(server.address) as channel:
            stream = channel.unary_stream(
                ORCA,
                request_serializer=orca_pb2.OrcaLoadReportRequest.SerializeToString,
                response_deserializer=orca_load_report_pb2.OrcaLoadReport.FromString,
            )
            with contextlib.suppress(grpc.RpcError):
                async for report in stream(request):
                    if IN_FLIGHT in report.named_metrics:
                        fleet.in_flight[server.name] = round(report.named_metrics[IN_FLIGHT])
        fleet.in_flight.pop(server.name, None)
