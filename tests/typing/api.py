"""The documented ways to use meshlb, for the type checker only: nothing here is run.

``mypy --strict tests/typing/api.py`` passes as long as callers' own code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

import meshlb
from meshlb import orca
from meshlb.testing import Faults, Mesh, NodeSpec

TARGET = "mesh://controller-0:7700,controller-1:7700/llama"


def rest_of(request: bytes, received: Sequence[bytes]) -> bytes | None:
    return request[len(received) :] or None


OPTIONS: list[tuple[str, Any]] = [
    ("meshlb.picker", "least_loaded"),
    ("meshlb.zone", "zone-a"),
    ("meshlb.resume", {"/pkg.Service/Method": rest_of}),
    ("grpc.max_receive_message_length", -1),
]


TLS = meshlb.tls(ca="ca.pem", cert="client.pem", key="client.key", token_file="token")
SECURE: list[tuple[str, Any]] = [("meshlb.controller_credentials", TLS)]


class Traced(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        return continuation(client_call_details, request)


class AioTraced(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(client_call_details, request)


def threads() -> None:
    plain: grpc.Channel = meshlb.insecure_channel(TARGET)
    chosen: grpc.Channel = meshlb.insecure_channel(
        TARGET, options=OPTIONS, compression=grpc.Compression.Gzip
    )
    secure: grpc.Channel = meshlb.secure_channel(TARGET, grpc.ssl_channel_credentials(), OPTIONS)
    traced: grpc.Channel = grpc.intercept_channel(plain, Traced())
    with chosen as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/pkg.S/Ask")
        answer: bytes = ask(b"", timeout=1.0)
        del answer
    for one in (secure, traced):
        one.close()


async def loops() -> None:
    interceptors: list[grpc.aio.ClientInterceptor] = [AioTraced()]
    plain: grpc.aio.Channel = meshlb.aio.insecure_channel(TARGET)
    chosen: grpc.aio.Channel = meshlb.aio.insecure_channel(
        TARGET,
        options=OPTIONS,
        compression=grpc.Compression.Gzip,
        interceptors=interceptors,
    )
    secure: grpc.aio.Channel = meshlb.aio.secure_channel(
        TARGET, grpc.ssl_channel_credentials(), OPTIONS, interceptors=interceptors
    )
    async with plain as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/pkg.S/Ask")
        answer: bytes = await ask(b"", timeout=1.0)
        del answer
        await channel.channel_ready()
        state: grpc.ChannelConnectivity = channel.get_state(try_to_connect=True)
        await channel.wait_for_state_change(state)
    for one in (chosen, secure):
        await one.close(1.0)


def tests_of_a_caller() -> None:
    spec = NodeSpec(node_id="slow")
    with Mesh(nodes=[spec, NodeSpec()], service="llama") as mesh:
        channel: grpc.Channel = mesh.channel(OPTIONS)
        faults: Faults = mesh.nodes[0].faults
        mesh.nodes[0].kill()
        mesh.stop_controller()
        mesh.start_controller()
        address: str = mesh.target
        channel.close()
        del faults, address


async def asyncio_tests_of_a_caller() -> None:
    async with Mesh(nodes=2) as mesh:
        channel: grpc.aio.Channel = mesh.aio_channel(OPTIONS, interceptors=[AioTraced()])
        await channel.close()


def a_model_server() -> None:
    recorder = orca.LoadRecorder(slots=8)
    threaded: grpc.ServerInterceptor = orca.server_interceptor(recorder)
    looped: grpc.aio.ServerInterceptor = orca.aio_server_interceptor(recorder)
    server: grpc.aio.Server = grpc.aio.server(interceptors=[looped])
    orca.add_service(server, recorder)
    recorder.set_utilization(0.5)
    recorder.set_metric("queue", 3.0)
    ticket = orca.current()
    if ticket is not None:
        ticket.add_tokens(generated=1)
    del threaded
