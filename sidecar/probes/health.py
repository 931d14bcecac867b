"""Whether the model server serves: ``grpc.health.v1``, else a fresh connection that becomes READY.

A frozen server still accepts TCP, and an open connection says nothing of it, so without a health
service each check opens a gRPC connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshlb.model import Health
from sidecar.probes import Node

PERIOD_S = 1.0
LIMIT_S = 1.0
MISSES = 2
"""Checks without an answer, in a row, that make a node unhealthy; a refusal does at once."""
_FRESH = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class Probe:
    """Checks in a task of its own; ``read`` gives the last answer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._health = Health.UNCHECKED
        self._missed = 0
        self._has_service = True
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """Return health."""
        if self._task is None:
            self._task = asyncio.create_task(self._check_on())
        return {"health": self._health}

    async def close(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _check_on(self) -> None:
        channel = grpc.aio.insecure_channel(
            self._node.address, [*_FRESH, ("grpc.max_reconnect_backoff_ms", 1000)]
        )
        try:
            while True:
                answer = await self._check(channel)
                if answer is None:
                    self._missed += 1
                    if self._missed >= MISSES:
                        self._health = Health.NOT_SERVING
                else:
                    self._missed = 0
                    self._health = answer
                await asyncio.sleep(PERIOD_S)
        finally:
            await channel.close()

    async def _check(self, channel: grpc.aio.Channel) -> Health | None:
        """Return what one check says; None: no answer in time."""
        if self._has_service:
            request = health_pb2.HealthCheckRequest()
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=LIMIT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return Health.NOT_SERVING
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return None
                self._has_service = False  # UNIMPLEMENTED, or one that wants more than we have
            else:
                serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                return Health.SERVING if serving else Health.NOT_SERVING
        return await self._connect()

    async def _connect(self) -> Health | None:
        async with grpc.aio.insecure_channel(self._node.address, _FRESH) as fresh:
            state = fresh.get_state(try_to_connect=True)
            try:
                async with asyncio.timeout(LIMIT_S):
                    while state is not grpc.ChannelConnectivity.READY:
                        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                            self._has_service = True  # the next server may have one
                            return Health.NOT_SERVING
                        await fresh.wait_for_state_change(state)
                        state = fresh.get_state(try_to_connect=True)
            except TimeoutError:
                return None
        return Health.SERVING
