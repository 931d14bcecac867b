"""A replica's sidecar: joins when the server serves, is kept alive, and says goodbye."""

import asyncio
import contextlib
import os
import signal

import grpc.aio

from meshlb import os_process
from meshlb.actuators.process import Params, build
from meshlb.controller.app import Controller
from meshlb.scale_model import ReplicaState
from meshlb.v1 import balance_pb2, balance_pb2_grpc


@contextlib.asynccontextmanager
async def controller(bench):
    """A real one; gives a function that lists its nodes."""
    made = Controller(listen="127.0.0.1:0")
    await made.start()
    bench.controllers = f"127.0.0.1:{made.port}"
    try:
        async with grpc.aio.insecure_channel(bench.controllers) as channel:
            stub = balance_pb2_grpc.BalanceServiceStub(channel)

            async def nodes():
                answer = await stub.ListNodes(balance_pb2.ListNodesRequest(), timeout=60)
                return {one.node.node_id: one for one in answer.nodes}

            yield nodes
    finally:
        await made.stop()


def named(entry):
    return entry["sidecar"]["process"]


def test_the_node_joins_when_its_server_serves_and_leaves_with_it(bench):
    async def run():
        gate = bench.folder / "gate"
        more = {"sidecar": True, "slots": 5, "zone": "eu-1a"}
        async with controller(bench) as nodes, bench.actuator(f"gate={gate}", **more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            await bench.entry(named, "a sidecar")
            assert await nodes() == {}
            gate.touch()
            (replica,) = await bench.ready(actuator)
            found = (await bench.until(nodes, "it joins"))[replica.node_id]
            assert found.node.slot_count == 5
            assert found.node.zone == "eu-1a"
            assert found.node.address == bench.ledger.entries()[replica.replica_id]["address"]
            await actuator.apply(bench.order(0, stop=[replica.replica_id]))

            async def left():
                return not await nodes()

            await bench.until(left, "the controller forgets it")
            await bench.gone(actuator)
            assert bench.running() == []

    asyncio.run(run())


def test_a_dead_sidecar_is_replaced_and_the_server_is_not_touched(bench):
    async def run():
        async with controller(bench) as nodes, bench.actuator(sidecar=True) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            before = (await bench.until(nodes))[replica.node_id].node.incarnation
            server, sidecar = (bench.pid(replica.replica_id, r) for r in ("server", "sidecar"))
            os.kill(sidecar, signal.SIGKILL)

            async def again():
                listed = await nodes()
                return listed[replica.node_id].node.incarnation > before

            await bench.until(again, "another sidecar reports")
            assert bench.pid(replica.replica_id) == server
            assert bench.serves(replica.replica_id)
            assert [r.state for r in await actuator.observe()] == [ReplicaState.READY]

    asyncio.run(run())


def test_a_servers_end_ends_its_sidecar(bench):
    async def run():
        async with bench.actuator(sidecar=True) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            await bench.entry(named, "a sidecar")
            os.kill(bench.pid(replica.replica_id), signal.SIGKILL)
            await bench.in_state(actuator, ReplicaState.LOST)
            await bench.until(lambda: not bench.running(), "its sidecar ends")

    asyncio.run(run())


def test_an_adopted_sidecar_is_replaced_when_the_controller_is_elsewhere(bench):
    async def run():
        async with bench.actuator(sidecar=True) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            await bench.entry(named, "a sidecar")
            server = bench.pid(replica.replica_id)
            (old,) = [p for p in bench.running() if p.pid != server]
        async with controller(bench) as nodes, bench.actuator(sidecar=True):
            assert replica.node_id in await bench.until(nodes, "it reports to the new one")
            assert bench.pid(replica.replica_id) == server
            await bench.until(lambda: os_process.name_of(old.pid) is None, "the old one ends")

    asyncio.run(run())


def test_a_sidecar_that_cannot_run_is_said_and_the_server_serves(bench):
    async def run():
        bench.controllers = "not an address"
        async with bench.actuator(sidecar=True) as actuator:
            await actuator.apply(bench.order(1, start=1))

            async def said():
                (replica,) = await actuator.observe()
                ready = replica.state is ReplicaState.READY
                return ready and "sidecar ended with exit code 2" in replica.reason and replica

            replica = await bench.until(said, "the sidecar's end is the reason")
            assert "not an address" in replica.reason
            assert bench.serves(replica.replica_id)

    asyncio.run(run())


def test_services_do_not_know_each_other(bench):
    async def run():
        other = build("other", Params(command=("x", "{port}")), bench.context())
        assert await other.observe() == []

    asyncio.run(run())
