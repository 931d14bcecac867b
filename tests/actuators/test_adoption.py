"""The owner is killed at any instant: its servers go on, and the next one finds each again."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from meshlb import os_process
from meshlb.actuators.process import stop_all
from meshlb.scale_model import ReplicaState


def ready(entry):
    return entry["state"] == "ready"


def kill(owner):
    owner.send_signal(signal.SIGKILL)
    owner.wait()


def test_a_killed_owners_replica_serves_on_and_is_adopted(bench):
    async def run():
        owner = bench.owner(sidecar=True)
        replica_id = await bench.entry(lambda e: ready(e) and e["sidecar"]["process"])
        kill(owner)
        pids = [bench.pid(replica_id, role) for role in ("server", "sidecar")]
        assert bench.serves(replica_id)
        async with bench.actuator(sidecar=True) as actuator:
            (replica,) = await actuator.observe()
            assert (replica.replica_id, replica.state) == (replica_id, ReplicaState.READY)
            await actuator.apply(bench.order(1, start=1))
            assert len(await actuator.observe()) == 1, "no duplicate is started"
            assert [bench.pid(replica_id, role) for role in ("server", "sidecar")] == pids
            assert bench.serves(replica_id)
            await actuator.apply(bench.order(0, stop=[replica_id]))
            await bench.gone(actuator)
        assert bench.running() == []
        assert bench.ledger.entries() == {}

    asyncio.run(run())


def test_one_that_was_starting_is_waited_for_by_the_next(bench):
    async def run():
        gate = bench.folder / "gate"
        owner = bench.owner(f"gate={gate}")
        replica_id = await bench.entry(lambda e: e["server"]["process"])
        kill(owner)
        async with bench.actuator() as actuator:
            (replica,) = await actuator.observe()
            assert (replica.replica_id, replica.state) == (replica_id, ReplicaState.STARTING)
            assert replica.since == bench.ledger.entries()[replica_id]["ordered_at"]
            gate.touch()
            (replica,) = await bench.ready(actuator)
            assert replica.replica_id == replica_id

    asyncio.run(run())


def test_a_start_that_nobody_lived_to_write_down_is_found_by_its_token(bench):
    async def run():
        owner = bench.owner(die_at=2)  # the intent is the first, the pid the second
        assert await asyncio.to_thread(owner.wait) == -signal.SIGKILL
        (entry,) = bench.ledger.entries().values()
        assert entry["server"]["process"] is None
        async with bench.actuator() as actuator:
            (replica,) = await bench.ready(actuator)
            (leader,) = bench.running()
            assert bench.pid(replica.replica_id) == leader.pid

    asyncio.run(run())


def test_a_start_that_never_came_is_lost_and_forgotten(bench):
    async def run():
        gate = bench.folder / "gate"
        owner = bench.owner(f"gate={gate}")
        replica_id = await bench.entry(lambda e: e["server"]["process"])
        kill(owner)
        (entry,) = bench.ledger.entries().values()
        os_process.send(bench.running()[0], signal.SIGKILL)
        await bench.until(lambda: not bench.running())
        bench.ledger.put(replica_id, {**entry, "server": {"token": "none-such", "process": None}})
        async with bench.actuator() as actuator:
            (lost,) = await actuator.observe()
            assert (lost.replica_id, lost.state) == (replica_id, ReplicaState.LOST)
            await bench.until(lambda: not bench.ledger.entries())

    asyncio.run(run())


def test_what_ended_meanwhile_is_lost_and_its_rest_is_cleared_away(bench):
    async def run():
        owner = bench.owner("worker", sidecar=True)
        replica_id = await bench.entry(lambda e: ready(e) and e["sidecar"]["process"])
        kill(owner)
        pid = bench.pid(replica_id)
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: os_process.name_of(pid) is None)
        assert len(bench.running()) == 2, "its worker and its sidecar run on"
        async with bench.actuator(sidecar=True) as actuator:
            (lost,) = await actuator.observe()
            assert (lost.replica_id, lost.state) == (replica_id, ReplicaState.LOST)
            assert "ended while no controller ran" in lost.reason
            await bench.until(lambda: not bench.ledger.entries())
        assert bench.running() == []

    asyncio.run(run())


def test_a_stop_is_carried_on(bench):
    async def run():
        owner = bench.owner()
        replica_id = await bench.entry(ready)
        kill(owner)
        (entry,) = bench.ledger.entries().values()
        bench.ledger.put(replica_id, {**entry, "state": "stopping"})
        async with bench.actuator() as actuator:
            assert [r.state for r in await actuator.observe()] == [ReplicaState.STOPPING]
            await bench.gone(actuator)
        assert bench.running() == []

    asyncio.run(run())


def test_a_server_that_wrote_over_its_environment_is_known_by_pid_and_start(bench):
    async def run():
        command = ("env", "-u", os_process.TOKEN, sys.executable, str(bench.server), "{address}")
        owner = bench.owner("worker", command=(*command, "worker"))
        replica_id = await bench.entry(ready)
        kill(owner)
        pid = bench.pid(replica_id)
        assert os_process.token_of(pid) is None
        async with bench.actuator() as actuator:
            await bench.ready(actuator)
            group = [p for p in os_process.psutil.pids() if in_group(p, pid)]
            assert len(group) == 2
            await actuator.apply(bench.order(0, stop=[replica_id]))
            await bench.gone(actuator)
        assert not [p for p in group if os_process.name_of(p)]

    asyncio.run(run())


def in_group(pid, group):
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


@pytest.mark.parametrize("same_start", [True, False])
@pytest.mark.parametrize("token", [None, "another"])
def test_a_pid_that_is_a_strangers_by_now_is_never_touched(bench, same_start, token):
    env = {**os.environ, **({os_process.TOKEN: token} if token else {})}
    # Not the leader of a group unless it started at another time: pid, start and group are a name.
    stranger = subprocess.Popen(["sleep", "1000"], env=env, start_new_session=not same_start)
    try:
        name = os_process.name_of(stranger.pid)

        async def run():
            owner = bench.owner()
            replica_id = await bench.entry(ready)
            kill(owner)
            (entry,) = bench.ledger.entries().values()
            os_process.send(bench.running()[0], signal.SIGKILL)
            await bench.until(lambda: not bench.running())
            process = name.to_json()
            if not same_start:
                process["started_s"] -= 5
            entry["server"]["process"] = process
            bench.ledger.put(replica_id, entry)
            assert not os_process.members(name, entry["server"]["token"]) or not same_start
            async with bench.actuator() as actuator:
                (lost,) = await actuator.observe()
                assert lost.state is ReplicaState.LOST
                await bench.until(lambda: not bench.ledger.entries())
            bench.ledger.put(replica_id, entry)
            said = []
            await stop_all(bench.ledger, said.append)
            assert "gone already" in said[0]

        asyncio.run(run())
        assert stranger.poll() is None
        assert os_process.lives(name)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_damaged_entry_is_said_and_the_others_are_adopted(bench):
    async def run():
        owner = bench.owner()
        replica_id = await bench.entry(ready)
        kill(owner)
        entries = bench.ledger.entries()
        bench.ledger.path.write_text(json.dumps(entries | {"s-broken": {"node_id": 7}}))
        bench.ledger.tokens |= {entries[replica_id]["server"]["token"]}
        async with bench.actuator() as actuator:
            (replica,) = await bench.ready(actuator)
            assert replica.replica_id == replica_id
        bench.ledger.path.write_text(json.dumps(entries))

    asyncio.run(run())


def test_letting_go_and_adopting_again_within_one_process(bench):
    async def run():
        async with bench.actuator(sidecar=True) as actuator:
            await actuator.apply(bench.order(2, start=2))
            first = await bench.ready(actuator, 2)
        async with bench.actuator(sidecar=True) as actuator:
            again = await bench.ready(actuator, 2)
            assert {r.replica_id for r in again} == {r.replica_id for r in first}

    asyncio.run(run())
