"""Whether the model server serves: ``grpc.health.v1``, else a fresh connection that becomes READY.

A frozen server still accepts TCP, and an open connection says nothing of it, so without a health
service each check opens a gRPC connection of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshlb.model import Health
from sidecar import dial
from sidecar.probes import Node

PERIOD_S = 1.0
STARTING_PERIOD_S = 0.1
"""While a server's first moment is waited for: what it costs is a refused connection."""
LIMIT_S = 1.0
MISSES = 2
"""Checks without an answer, in a row, that make a node unhealthy; a refusal does at once."""
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # connections of our own, fresh when the channel is
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_REFUSED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


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
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            self._health = Health.UNCHECKED
            task.result()
        if self._task is None:
            self._task = asyncio.create_task(self._check_on())
        return {"health": self._health}

    async def close(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _check_on(self) -> None:
        async with self._channel() as channel:
            while True:
                answer = await self._check(channel)
                self._missed = self._missed + 1 if answer is None else 0
                if answer is not None:
                    self._health = answer
                elif self._missed >= MISSES:
                    self._health = Health.NOT_SERVING
                await asyncio.sleep(STARTING_PERIOD_S if self._node.starting else PERIOD_S)

    def _channel(self) -> grpc.aio.Channel:
        return dial.server(self._node, _OPTIONS)

    async def _check(self, channel: grpc.aio.Channel) -> Health | None:
        """Return what one check says; None: no answer in time."""
        if not self._has_service:
            return await self._connect()
        code = await self._ask(channel)
        if code is grpc.StatusCode.UNAVAILABLE:
            # The connection may be one that the server has just closed for its age.
            async with self._channel() as fresh:
                code = await self._ask(fresh)
        if isinstance(code, Health):
            return code
        if code is grpc.StatusCode.UNAVAILABLE:
            return Health.NOT_SERVING
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        # UNIMPLEMENTED, or a service that wants more than we have, such as a token.
        self._has_service = code is not grpc.StatusCode.UNIMPLEMENTED
        return await self._connect()

    async def _ask(self, channel: grpc.aio.Channel) -> Health | grpc.StatusCode:
        """Return what the server's health service says, or why it says nothing."""
        request = health_pb2.HealthCheckRequest()
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=LIMIT_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Health.SERVING if serving else Health.NOT_SERVING

    async def _connect(self) -> Health | None:
        """Return whether a fresh connection becomes READY; None: neither that nor refused."""
        async with self._channel() as fresh:
            state = fresh.get_state(try_to_connect=True)
            try:
                async with asyncio.timeout(LIMIT_S):
                    while state is not grpc.ChannelConnectivity.READY:
                        if state is _REFUSED:
                            self._has_service = True  # the next server may have one
                            return Health.NOT_SERVING
                        await fresh.wait_for_state_change(state)
                        state = fresh.get_state(try_to_connect=True)
            except TimeoutError:
                return None
        return Health.SERVING
