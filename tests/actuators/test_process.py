"""The process actuator over real servers: start, readiness, failure, loss, stop."""

import asyncio
import os
import signal
import socket
import sys

import psutil
import pytest

from meshlb.actuators.process import build, launch, stop_all
from meshlb.actuators.process.params import Params
from meshlb.errors import InvalidInputError
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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"command": ("/no/such/program", "{port}")}, "a program that can be started"),
        ({"cwd": "/no/such/folder"}, "cwd = '/no/such/folder'"),
        ({"host": "203.0.113.1"}, "host = '203.0.113.1'"),
        ({"log_dir": "/dev/null/logs"}, "log_dir = '/dev/null/logs'"),
    ],
)
def test_what_cannot_be_started_says_why(bench, more, said):
    async def run():
        async with bench.actuator(**more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert said in lost.reason
            await bench.until(lambda: not bench.ledger.entries())

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


def test_nice_is_set_on_every_thread(bench):
    async def run():
        async with bench.actuator(resize="nice") as actuator:
            await actuator.apply(bench.order(1, start=1))
            (replica,) = await bench.ready(actuator)
            assert await actuator.resize(replica.replica_id, None, 0.1, None)
            threads = [t.id for t in psutil.Process(bench.pid(replica.replica_id)).threads()]
            assert {os.getpriority(os.PRIO_PROCESS, thread) > 0 for thread in threads} == {True}

    asyncio.run(run())


def test_placeholders_are_filled_and_other_braces_stay(bench):
    async def run():
        code = "import sys; print(sys.argv[1:], flush=True); sys.exit(1)"
        words = ("{node_id}", "{service}/{host}/{port}", '{"a": {slots}}', "${port}")
        more = {"command": (sys.executable, "-c", code, *words), "slots": 3}
        async with bench.actuator(**more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert f"['{lost.node_id}', 's/127.0.0.1/" in lost.reason
            assert """'{"a": 3}', '${port}']""" in lost.reason

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"command": ()}, "command = ()"),
        ({"command": "serve {port}"}, "a list of texts"),
        ({"command": ("serve",)}, "{port} or {address}"),
        ({"command": ("serve", "{prot}{port}")}, "{prot}"),
        ({"command": ("serve", "{port}", "{slots}")}, "slots = none"),
        ({"slots": 0}, "slots = 0"),
        ({"ready_limit_s": float("nan")}, "ready_limit_s"),
        ({"grace_s": -1}, "grace_s = -1"),
        ({"backoff_s": 10, "backoff_max_s": 1}, "backoff_max_s = 1"),
        ({"resize": "magic"}, "resize = 'magic'"),
        ({"host": "a b"}, "host = 'a b'"),
        ({"env": {"A": 1}}, "env"),
        ({"sidecar": "no"}, "sidecar = 'no'"),
    ],
)
def test_wrong_parameters_are_named(bench, wrong, said):
    params = Params(**{"command": ("serve", "{port}"), **wrong})
    assert any(said in fault for fault in params.faults()), params.faults()
    with pytest.raises(InvalidInputError, match="="):
        build("s", params, bench.context())


def test_wrong_orders_are_named(bench):
    async def run():
        async with bench.actuator() as actuator:
            with pytest.raises(InvalidInputError, match="start = -1"):
                await actuator.apply(bench.order(1, start=-1))
            assert await actuator.observe() == []

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
