"""The health that is reported: by the server's own word, else by a fresh connection."""

import asyncio
import socket

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from meshlb.model import Health
from sidecar.probes import Node, health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def until_health(probe, wanted):
    async with asyncio.timeout(60):
        while (await probe.read())["health"] is not wanted:  # noqa: ASYNC110 - read is what shows it
            await asyncio.sleep(0.005)


def test_the_servers_own_word_is_followed(loopback):
    async def run():
        servicer = HealthServicer()
        await servicer.set("", NOT_SERVING)

        def add(server):
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)

        async with loopback.model_server(add) as server:
            probe = health.Probe(Node(server.address))
            await until_health(probe, Health.NOT_SERVING)
            await servicer.set("", SERVING)
            await until_health(probe, Health.SERVING)
            await probe.close()

    asyncio.run(run())


def test_a_server_without_health_falls_when_it_stops_and_comes_back(loopback):
    async def run():
        async with loopback.model_server() as server:
            address = server.address
            probe = health.Probe(Node(address))
            await until_health(probe, Health.SERVING)
            await server.stop(0)
            await until_health(probe, Health.NOT_SERVING)
            # Started anew, now with a health service that says no: it is asked again.
            servicer = HealthServicer()
            await servicer.set("", NOT_SERVING)
            anew = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            anew.add_insecure_port(address)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, anew)
            await anew.start()
            await servicer.set("", SERVING)
            await until_health(probe, Health.SERVING)
            await servicer.set("", NOT_SERVING)
            await until_health(probe, Health.NOT_SERVING)
            await anew.stop(0)
            await probe.close()

    asyncio.run(run())


def test_a_server_that_accepts_and_says_nothing_is_not_serving(loopback, monkeypatch):
    monkeypatch.setattr(health, "LIMIT_S", 0.2)

    async def run():
        # As a frozen server does: the kernel accepts, and nobody answers.
        with socket.create_server(("127.0.0.1", 0)) as frozen:
            probe = health.Probe(Node(f"127.0.0.1:{frozen.getsockname()[1]}"))
            assert (await probe.read())["health"] is Health.UNCHECKED
            await until_health(probe, Health.NOT_SERVING)
            await probe.close()

    asyncio.run(run())


def test_a_busy_server_that_refuses_the_check_serves_and_is_asked_again(loopback):
    async def run():
        class Busy(health_pb2_grpc.HealthServicer):
            code = grpc.StatusCode.RESOURCE_EXHAUSTED

            async def Check(self, request, context):  # noqa: N802
                if self.code:
                    await context.abort(self.code, "full")
                return health_pb2.HealthCheckResponse(status=NOT_SERVING)

        busy = Busy()

        def add(server):
            health_pb2_grpc.add_HealthServicer_to_server(busy, server)

        async with loopback.model_server(add) as server:
            probe = health.Probe(Node(server.address))
            await until_health(probe, Health.SERVING)
            busy.code = None
            await until_health(probe, Health.NOT_SERVING)
            await probe.close()

    asyncio.run(run())


def test_health_falls_in_the_reports_when_the_server_stops(loopback):
    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller() as controller,
            loopback.agent(controller, node=server.address),
        ):
            await loopback.until(lambda: controller.reports)
            await server.stop(0)
            await controller.until(lambda report: report.health == 2, "NOT_SERVING")

    asyncio.run(run())
