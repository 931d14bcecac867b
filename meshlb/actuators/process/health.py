"""Wait until a server is healthy: ``grpc.health.v1``, else a fresh connection that becomes READY.

The sidecar goes by the same rules; it is another program and shares no code with the controller.
"""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshlb.checks import parse_address

PERIOD_S = 0.1
LIMIT_S = 1.0
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # connections of our own, fresh when the channel is
    ("grpc.enable_http_proxy", 0),
)


async def until_serving(address: str) -> None:
    """Return once the server at the address serves; whoever waits cancels."""
    while not await _serves(address):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(PERIOD_S)


async def _serves(address: str) -> bool:
    if not await _listens(address):
        return False  # without a channel: most of a start is spent here
    async with grpc.aio.insecure_channel(address, _OPTIONS) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=LIMIT_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return False
            # It has no health service, or one that wants more than we have. It answers, though.
            return channel.get_state() is grpc.ChannelConnectivity.READY
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _listens(address: str) -> bool:
    host, port = parse_address(address)
    try:
        async with asyncio.timeout(LIMIT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError among them
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
