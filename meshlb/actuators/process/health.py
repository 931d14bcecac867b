"""Wait until a server is healthy: ``grpc.health.v1``, else a fresh connection that becomes READY.

The sidecar goes by the same rules; it is another program and shares no code with the controller.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshlb.checks import parse_address
from meshlb.security.client_tls import Tls

PERIOD_S = 0.1
LIMIT_S = 1.0
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # connections of our own, fresh when the channel is
    ("grpc.enable_http_proxy", 0),
)


async def until_serving(address: str, tls: Tls | None = None, authority: str = "") -> None:
    """Return once the server at the address serves; whoever waits cancels."""
    while not await _serves(address, tls, authority):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(PERIOD_S)


def _channel(address: str, tls: Tls | None, authority: str) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, _OPTIONS)
    named: list[tuple[str, Any]] = [*_OPTIONS]
    if authority:
        named.append(("grpc.ssl_target_name_override", authority))
    return grpc.aio.secure_channel(address, tls.current()[1], named)


async def _serves(address: str, tls: Tls | None, authority: str) -> bool:
    if not await _listens(address):
        return False  # without a channel: most of a start is spent here
    async with _channel(address, tls, authority) as channel:
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
