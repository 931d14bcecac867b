"""The process actuator over real servers: start, readiness, failure, loss, stop."""

import asyncio
import os
import signal
import sys

import psutil
import pytest

from meshlb.actuators.process import stop_all
from meshlb.scale_model import ReplicaState


@pytest.mark.parametrize("options", [(), ("plain",)])
def test_a_server_is_started_ready_and_stopped_without_a_trace(bench, options):
    async def run():
        async with bench.actuator(*options) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (seen,) = await actuator.observe()
            assert seen.state is ReplicaState.STARTING
            (replica,) = await bench.ready(actuator)
            assert replica.replica_id == seen.replica_id == replica.node_id
            assert bench.serves(replica.replica_id)
            pid = bench.pid(replica.replica_id)
            assert os.getsid(pid) == os.getpgid(pid) == pid
            await actuator.apply(bench.order(0, stop=[replica.replica_id]))
            assert (await actuator.observe())[0].state is ReplicaState.STOPPING
            await bench.gone(actuator)
            assert bench.ledger.entries() == {}
            assert not psutil.pid_exists(pid)
            assert bench.running() == []

    asyncio.run(run())


def test_the_intent_is_in_the_ledger_before_the_start_and_the_pid_after(bench):
    async def run():
        async with bench.actuator() as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
        first, second = (entry for _, entry in bench.ledger.puts[:2])
        assert first["node_id"] == replica.node_id
        assert first["server"]["process"] is None
        assert first["server"]["token"] == second["server"]["token"]
        assert first["address"] == second["address"]
        assert second["server"]["process"]["pid"] == bench.pid(replica.replica_id)

    asyncio.run(run())


def test_the_same_order_again_changes_nothing_and_withdrawn_ones_do_not_count(bench):
    async def run():
        async with bench.actuator() as actuator:
            for _ in range(3):
                await actuator.apply(bench.order(2, start=2))
            ready = await bench.ready(actuator, 2)
            await actuator.apply(bench.order(2, start=2))
            assert len(await actuator.observe()) == 2
            drains = ready[0].replica_id
            await actuator.apply(bench.order(2, start=1, withdrawn=[drains]))
            await bench.ready(actuator, 3)
            assert len({bench.ledger.entries()[r.replica_id]["address"]
                        for r in await actuator.observe()}) == 3  # fmt: skip
            await actuator.apply(bench.order(2, stop=[drains, "s-unknown"]))
            await actuator.apply(bench.order(2, stop=[drains, "s-unknown"]))
            await bench.ready(actuator, 2)

    asyncio.run(run())


def test_a_broken_command_is_lost_with_exit_code_and_last_words_and_does_not_spin(bench):
    async def run():
        command = (
            sys.executable,
            "-c",
            "import sys; print('no such model'); sys.exit(7)",
            "{port}",
        )
        more = {"command": command, "backoff_s": 60.0, "backoff_max_s": 60.0}
        async with bench.actuator(**more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert "exit code 7" in lost.reason
            assert "no such model" in lost.reason
            assert "server.log" in lost.reason
            await bench.until(lambda: not bench.ledger.entries())
            for _ in range(3):
                await actuator.apply(bench.order(1, start=1, decision_id=2))
            await asyncio.sleep(0)
            waits = [r for r in await actuator.observe() if r.state is ReplicaState.STARTING]
            assert [r.reason[:5] for r in waits] == ["waits"]
            assert bench.ledger.entries() == {}, "nothing is started before the wait is over"
            await actuator.apply(bench.order(0, stop=[waits[0].replica_id]))
            await bench.gone(actuator)

    asyncio.run(run())


def test_it_goes_on_trying_and_recovers(bench):
    async def run():
        switch = bench.folder / "works"
        program = f"import os, sys; os.path.exists({str(switch)!r}) or sys.exit(3); exec({{}})"
        code = program.format(f"open({str(bench.server)!r}).read()")
        async with bench.actuator(command=(sys.executable, "-c", code, "{address}")) as actuator:
            for count in (1, 2, 3):
                await actuator.apply(bench.order(1, start=1))
                await bench.in_state(actuator, ReplicaState.LOST, count)
            switch.touch()
            await actuator.apply(bench.order(1, start=1))
            await bench.ready(actuator)

    asyncio.run(run())


def test_a_server_that_never_gets_healthy_is_ended(bench):
    async def run():
        async with bench.actuator("sick", ready_limit_s=3.0) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert "not healthy after 3 s" in lost.reason
            await bench.until(lambda: not bench.ledger.entries())
            assert bench.running() == []

    asyncio.run(run())


def test_a_killed_server_is_lost_and_what_it_started_ends_with_it(bench):
    async def run():
        async with bench.actuator("worker") as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            assert len(bench.running()) == 2
            os.kill(bench.pid(replica.replica_id), signal.SIGKILL)
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert "was killed by SIGKILL" in lost.reason
            await bench.until(lambda: not bench.running(), "the worker ends too")
            await actuator.apply(bench.order(1, start=1))
            (other,) = await bench.ready(actuator)
            assert other.replica_id != replica.replica_id

    asyncio.run(run())


def test_one_that_ignores_sigterm_is_killed_after_its_grace(bench):
    async def run():
        async with bench.actuator("deaf", "worker", grace_s=0.2) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            await actuator.apply(bench.order(0, stop=[replica.replica_id]))
            await bench.gone(actuator)
            assert bench.running() == []

    asyncio.run(run())


def test_all_that_a_ledger_names_is_stopped_without_an_actuator(bench):
    async def run():
        async with bench.actuator("worker") as actuator:
            await actuator.apply(bench.order(2, start=2))
            await bench.ready(actuator, 2)
        said = []
        await stop_all(bench.ledger, said.append)
        assert len(said) == 2
        assert all("stopped by SIGTERM" in line for line in said)
        assert bench.ledger.entries() == {}
        assert bench.running() == []
        await stop_all(bench.ledger, said.append)
        assert len(said) == 2

    asyncio.run(run())
