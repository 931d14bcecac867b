"""Servers and controller with TLS: the actuator and its sidecars dial both as they demand."""

import asyncio
import sys

import grpc.aio
import pytest

from meshlb import settings
from meshlb.actuators.process import build
from meshlb.controller.app import Controller
from meshlb.errors import InvalidInputError
from meshlb.v1 import balance_pb2, balance_pb2_grpc, load_pb2
from tests.security.pki import Pki

SERVER = (
    "import sys, grpc; from concurrent import futures; "
    "from meshlb.security.material import Files; "
    "from meshlb.security.server_tls import ServerTls; "
    "server = grpc.server(futures.ThreadPoolExecutor(1)); "
    "credentials = ServerTls(Files(*sys.argv[2:]), print).credentials(); "
    "server.add_secure_port(sys.argv[1], credentials); "
    "server.start(); server.wait_for_termination()"
)


def test_it_joins_and_is_healthy(bench, tmp_path):
    pki = Pki(tmp_path)
    model = pki.write("model", None, ("model.test",))
    node = pki.write("node", "spiffe://test.local/meshlb/node/s")
    viewer = pki.tls("viewer")
    more = {
        "command": (sys.executable, "-c", SERVER, "{address}", model.ca, model.cert, model.key),
        "server_ca": node.ca, "server_cert": node.cert, "server_key": node.key,
        "authority": "model.test", "sidecar": True,
        "sidecar_args": ("--ca", node.ca, "--cert", node.cert, "--key", node.key),
    }  # fmt: skip

    async def run():
        controller = Controller(settings.parse({"controller": pki.controller()}), "127.0.0.1:0")
        await controller.start()
        bench.controllers = f"127.0.0.1:{controller.port}"
        credentials = viewer.current()[1]
        async with (
            grpc.aio.secure_channel(bench.controllers, credentials) as channel,
            bench.actuator(**more) as actuator,
        ):
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)

            async def healthy():
                listed = (await stub.ListNodes(balance_pb2.ListNodesRequest())).nodes
                return [
                    one
                    for one in listed
                    if one.node.node_id == replica.node_id
                    and one.report.health == load_pb2.HEALTH_SERVING
                ]

            (found,) = await bench.until(healthy, "its sidecar sees it serve")
            assert found.node.authority == "model.test"
        await controller.stop()

    asyncio.run(run())


def test_files_that_cannot_be_used_are_told_at_once(bench):
    with pytest.raises(InvalidInputError, match=r"server_key = '': a file, since server_cert is"):
        bench.build(server_cert="c")
    with pytest.raises(InvalidInputError, match=r"ca = '/nowhere': a readable file"):
        build("s", bench.params(server_ca="/nowhere"), bench.context())
    with pytest.raises(InvalidInputError, match="sidecar_args = 'x': a list of texts"):
        bench.build(sidecar_args="x")
