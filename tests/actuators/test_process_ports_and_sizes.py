"""The process actuator's free ports, and what it can change of a server that runs."""

import asyncio
import math
import os
import socket

import psutil
import pytest

from meshlb.actuators.process import launch
from meshlb.errors import InvalidInputError


@pytest.mark.parametrize("listens", [True, False])
def test_a_port_that_is_taken_meanwhile_is_replaced_by_another(bench, monkeypatch, listens):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        if listens:  # as another gRPC server would, from before ours was started
            stranger.listen()
        given = iter([stranger.getsockname()[1]])
        free_port = launch.free_port
        monkeypatch.setattr(launch, "free_port", lambda host: next(given, None) or free_port(host))

        async def run():
            async with bench.actuator() as actuator:
                await actuator.apply(bench.order(1, start=1))
                (replica,) = await bench.ready(actuator)
                port = int(bench.ledger.entries()[replica.replica_id]["address"].split(":")[1])
                assert port != stranger.getsockname()[1]

        asyncio.run(run())


def test_who_answered_before_our_server_was_started_is_not_ours(bench):
    async def run():
        async with bench.actuator() as actuator:
            await actuator.apply(bench.order(2, start=2))
            older, newer = sorted(
                (r for r in await bench.ready(actuator, 2)),
                key=lambda r: bench.ledger.entries()[r.replica_id]["server"]["process"][
                    "started_s"
                ],
            )
            entries = {r: actuator._replicas[r.replica_id].entry for r in (older, newer)}
            assert not launch.is_strange(entries[older])
            real, entries[newer].address = entries[newer].address, entries[older].address
            same = entries[newer].server.name.started_s == entries[older].server.name.started_s
            assert launch.is_strange(entries[newer]) != same
            entries[newer].address = real

    asyncio.run(run())


def test_ports_are_not_given_twice():
    ports = [launch.free_port("127.0.0.1") for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        launch.release_port(f"127.0.0.1:{port}")


def test_cores_are_given_to_every_thread(bench):
    async def run():
        async with bench.actuator("worker") as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            pid = bench.pid(replica.replica_id)
            assert await actuator.resize(replica.replica_id, None, 1.0, None)
            threads = [t.id for t in psutil.Process(pid).threads()]
            threads += [child.pid for child in psutil.Process(pid).children()]
            assert len(threads) > 2
            assert {len(os.sched_getaffinity(thread)) for thread in threads} == {1}
            assert bench.serves(replica.replica_id)
            assert await actuator.resize(replica.replica_id, 8, None, None)
            assert bench.ledger.entries()[replica.replica_id]["slots"] == 8
            assert not await actuator.resize(replica.replica_id, None, None, 2**30)
            assert not await actuator.resize("s-unknown", 1, 1.0, None)
            with pytest.raises(InvalidInputError, match="cpu_cores"):
                await actuator.resize(replica.replica_id, None, -1.0, None)

    asyncio.run(run())


def test_cores_that_were_given_are_given_back_even_by_another_controller(bench):
    async def run():
        async with bench.actuator("worker") as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            name, pid = replica.replica_id, bench.pid(replica.replica_id)
            before = os.sched_getaffinity(pid)
            assert await actuator.resize(name, None, math.inf, None)  # none were given
            assert bench.ledger.entries()[name]["cpus_before"] is None
            assert await actuator.resize(name, None, 1.0, None)
            assert await actuator.resize(name, None, 2.0, None)
            assert set(bench.ledger.entries()[name]["cpus_before"]) == before
            assert await actuator.resize(name, None, 1.0, None)
        async with bench.actuator("worker") as actuator:
            assert {len(os.sched_getaffinity(thread)) for thread in threads(pid)} == {1}
            assert await actuator.resize(name, None, math.inf, None)
            assert {frozenset(os.sched_getaffinity(one)) for one in threads(pid)} == {
                frozenset(before)
            }
            assert bench.ledger.entries()[name]["cpus_before"] is None

    asyncio.run(run())


def nices(pid):
    """Return what nice the threads of a server have."""
    return {os.getpriority(os.PRIO_PROCESS, t.id) for t in psutil.Process(pid).threads()}


def threads(pid):
    """Return the threads of a server, and its children."""
    found = psutil.Process(pid)
    return [thread.id for thread in found.threads()] + [child.pid for child in found.children()]


def test_nice_is_set_on_every_thread(bench):
    async def run():
        async with bench.actuator(resize="nice") as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            pid = bench.pid(replica.replica_id)
            before = os.getpriority(os.PRIO_PROCESS, pid)
            assert await actuator.resize(replica.replica_id, None, 0.1, None)
            assert {nice > 0 for nice in nices(pid)} == {True}
            given_back = await actuator.resize(replica.replica_id, None, math.inf, None)
            assert given_back is (nices(pid) == {before})  # it needs a right that few have

    asyncio.run(run())
