"""A model server inside the test's process: real gRPC on loopback, with a set speed and faults.

It reports to the controller as a sidecar does, over a stream of its own. All methods may be called
from any thread but the mesh's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from meshlb import wire
from meshlb.errors import InvalidInputError
from meshlb.model import Health, LoadReport, NodeInfo
from meshlb.testing.faults import FaultInterceptor, Faults
from meshlb.v1 import balance_pb2, balance_pb2_grpc
from meshlb.wire_time import seconds

Register = Callable[[grpc.aio.Server], None]
T = TypeVar("T")
REPORT_GAP_S = 0.05
"""Between reports, or half of what the controller orders: quick to tell, and never a flood."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """How a fake node is to be."""

    service_time_s: float = 0.0
    """Mean time that a call takes before its handler answers, in seconds."""
    exponential: bool = False
    """Draw each service time at random around the mean, as real work scatters."""
    slots: int = 64
    """Calls served at once; more of them wait."""
    declare_slots: bool = False
    """Tell the controller of the slots; otherwise it learns them."""
    zone: str = ""
    node_id: str = ""
    """Name of the node; empty: "node-0", "node-1", ... in order."""

    def __post_init__(self) -> None:
        if not 0 <= self.service_time_s < 3600:
            raise InvalidInputError(
                f"service_time_s = {self.service_time_s}: from 0 to below 3600 seconds"
            )
        if self.slots < 1:
            raise InvalidInputError(f"slots = {self.slots}: 1 or more")


class FakeNode:
    """One node of a test mesh."""

    def __init__(
        self,
        spec: NodeSpec,
        service: str,
        controller: str,
        register: Register,
        submit: Callable[[Coroutine[Any, Any, Any]], Future[Any]],
    ) -> None:
        self.spec = spec
        self.node_id = spec.node_id
        self.address = ""
        """HOST:PORT; stays the same over kill and restart."""
        self.faults = Faults()
        """Set its fields to make calls fail, hang or break."""
        self.healthy = True
        """What its sidecar says of its health."""
        self._service = service
        self._controller = controller
        self._register = register
        self._submit = submit
        self._rng = random.Random(spec.node_id)
        self._interceptor: FaultInterceptor | None = None
        self._server: grpc.aio.Server | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._drain = False
        self._gap_s = REPORT_GAP_S
        self._seen: list[str] = []

    @property
    def calls(self) -> list[str]:
        """Full method names of all calls that came, oldest first."""
        return [*self._seen, *(self._interceptor.calls if self._interceptor else ())]

    @property
    def running(self) -> bool:
        """Whether its server listens."""
        return self._server is not None

    def kill(self) -> None:
        """Stop server and sidecar at once: calls in flight break, later ones are refused.

        So does a call that begins before the caller's gRPC has seen the connection end.
        """
        self._wait(self._kill())

    def restart(self) -> None:
        """Start a killed node again, at the same address."""
        self._wait(self._start())

    def drain(self) -> None:
        """Withdraw the node: its sidecar says goodbye, the server runs on."""
        self._wait(self._goodbye(drain=True))

    def silence(self) -> None:
        """End its sidecar without a word: the node goes on serving, unreported."""
        self._wait(self._goodbye(drain=None))

    def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        done: T = self._submit(step).result(timeout=60)
        return done

    def _service_time_s(self) -> float:
        mean = self.spec.service_time_s
        return self._rng.expovariate(1 / mean) if self.spec.exponential and mean else mean

    async def _start(self) -> None:
        if self._server is not None:
            return
        if self._interceptor is not None:
            self._seen += self._interceptor.calls
        self._interceptor = FaultInterceptor(self.faults, self._service_time_s, self.spec.slots)
        server = grpc.aio.server(
            interceptors=[self._interceptor], options=[("grpc.so_reuseport", 0)]
        )
        self._register(server)
        port = server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await server.start()
        self._server = server
        self._drain = False
        self._reporting = asyncio.create_task(self._report(), name=f"report {self.node_id}")

    async def _kill(self) -> None:
        await self._goodbye(drain=None)
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def _goodbye(self, drain: bool | None) -> None:
        task, self._reporting = self._reporting, None
        if task is None:
            return
        if drain:
            self._drain = True
            await task
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _report(self) -> None:
        """Report until told to stop; connects again whenever the controller is gone."""
        node = NodeInfo(
            service=self._service,
            node_id=self.node_id,
            incarnation=time.time_ns() // 1000,
            address=self.address,
            zone=self.spec.zone,
            slots=self.spec.slots if self.spec.declare_slots else None,
        )
        async with grpc.aio.insecure_channel(self._controller) as channel:
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    call = stub.ReportLoad(self._reports(node), wait_for_ready=True)
                    async for order in call:
                        self._gap_s = max(REPORT_GAP_S, seconds(order.report_interval) / 2)
                if self._drain:
                    return
                await asyncio.sleep(0.05)

    async def _reports(self, node: NodeInfo) -> AsyncIterator[balance_pb2.ReportLoadRequest]:
        while True:
            health = Health.SERVING if self.healthy else Health.NOT_SERVING
            report = wire.load_report_to_pb(
                LoadReport(node=node, observe_time_s=time.time(), health=health)
            )
            if self._drain:
                yield balance_pb2.ReportLoadRequest(
                    report=report, goodbye=balance_pb2.Goodbye(drain=True)
                )
                return
            yield balance_pb2.ReportLoadRequest(report=report)
            await asyncio.sleep(self._gap_s)
