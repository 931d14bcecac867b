"""What every actuator keeps, whatever it starts."""

import asyncio
import contextlib
import inspect
import json
import signal
import sys
import textwrap
import threading

import pytest

from meshlb import os_process, plugins
from meshlb.actuators import Capabilities, Context, Order
from meshlb.errors import MeshlbError
from meshlb.scale_model import Replica, ReplicaState

PACKAGE = "meshlb.actuators"
METHODS = ("start", "observe", "apply", "resize", "close")
# Serves nothing but its health, which is that it accepts a connection of HTTP/2.
SERVER = textwrap.dedent("""
    import sys
    from concurrent import futures
    import grpc
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()
""")
PROGRAM = textwrap.dedent("""
    import json, pathlib, sys
    kept, verb, told = pathlib.Path(sys.argv[1]), sys.argv[-1], json.load(sys.stdin)
    names = json.loads(kept.read_text()) if kept.exists() else []
    if verb == "apply":
        names = [name for name in names if name not in told["stop"]]
        names += [f"r{len(names) + n}" for n in range(told["target"] - len(names))]
        kept.write_text(json.dumps(names))
    print(json.dumps({"replicas": [
        {"replica_id": name, "node_id": name, "state": "ready"} for name in names]}))
""")


class Ledger:
    """In memory; remembers all that was ever put."""

    def __init__(self):
        self._lock = threading.Lock()
        self._entries = {}
        self.history = []

    def entries(self):
        with self._lock:
            return json.loads(json.dumps(self._entries))

    def put(self, replica_id, entry):
        with self._lock:
            self._entries[replica_id] = json.loads(json.dumps(entry, allow_nan=False))
            self.history.append(json.dumps(entry))

    def remove(self, replica_id):
        with self._lock:
            self._entries.pop(replica_id, None)


@pytest.fixture(params=plugins.names(PACKAGE), scope="module")
def name(request):
    return request.param


@pytest.fixture
def module(name):
    return plugins.load(PACKAGE, name)


@pytest.fixture
def ledger():
    made = Ledger()
    yield made
    text = "".join(made.history)
    for pid in os_process.psutil.pids():
        token = os_process.token_of(pid)
        if token and token in text and (one := os_process.name_of(pid)):
            os_process.send(one, signal.SIGKILL)


@pytest.fixture
def build(name, module, ledger, tmp_path):
    """Return a function that builds the actuator with parameters that work."""
    params = {
        "process": {
            "command": (sys.executable, "-c", SERVER, "{address}"),
            "sidecar": False,
            "log_dir": str(tmp_path),
        },
        "command": {
            "command": (sys.executable, "-c", PROGRAM, str(tmp_path / "kept")),
            "observe_s": 0.0,
        },
    }
    if name not in params and module.Params().__dict__:
        pytest.skip(f"{name}: no parameters are known here; its own tests have them")
    return lambda: module.build(
        "s", module.Params(**params.get(name, {})), Context("127.0.0.1:1", ledger)
    )


@contextlib.asynccontextmanager
async def begun(build):
    actuator = build()
    await actuator.start()
    try:
        yield actuator
    finally:
        await actuator.close()


async def when(actuator, true):
    """Observe until it holds; return what was seen then."""
    async with asyncio.timeout(40):
        while True:
            seen = await actuator.observe()
            if true(seen):
                return seen
            await asyncio.sleep(0.02)


def order(target, start=0, stop=()):
    return Order("s", target, start, stop, 1, "the contract")


def counted(seen):
    return [r for r in seen if r.state in (ReplicaState.STARTING, ReplicaState.READY)]


def test_the_known_ones_are_found():
    assert {"process", "command", "none"} <= set(plugins.names(PACKAGE))


def test_it_says_what_it_is_and_has_the_methods(module, build):
    assert len(module.__doc__.splitlines()) > 2
    assert module.Params.__doc__
    assert list(inspect.signature(module.build).parameters) == ["service", "params", "context"]
    actuator = build()
    assert isinstance(actuator.capabilities, Capabilities)
    for method in METHODS:
        assert inspect.iscoroutinefunction(getattr(actuator, method)), method


def test_its_parameters_have_defaults_and_say_what_is_wrong(module):
    params = module.Params()
    faults = params.faults() if hasattr(params, "faults") else []
    assert all(" = " in fault and ": " in fault for fault in faults)


def test_observing_changes_nothing_and_gives_replicas(build, ledger):
    async def run():
        async with begun(build) as actuator:
            for _ in range(3):
                assert list(await actuator.observe()) == []
            await actuator.apply(order(0))
            assert list(await actuator.observe()) == []
        assert ledger.entries() == {}

    asyncio.run(run())


def test_an_order_is_carried_out_once_and_its_stop_too(build):
    async def run():
        async with begun(build) as actuator:
            for _ in range(2):
                await actuator.apply(order(2, start=2))
            if not actuator.capabilities.starts:
                assert list(await actuator.observe()) == []
                return
            seen = await when(actuator, lambda s: len(counted(s)) == 2)
            assert all(isinstance(replica, Replica) for replica in seen)
            assert len({replica.replica_id for replica in seen}) == 2
            seen = await when(actuator, lambda s: {r.state for r in s} == {ReplicaState.READY})
            await actuator.apply(order(2, start=2))
            assert len(counted(await actuator.observe())) == 2
            for _ in range(2):
                await actuator.apply(order(1, stop=[seen[0].replica_id]))
            left = await when(actuator, lambda s: len(s) == 1)
            assert len(counted(left)) == 1
            if actuator.capabilities.chooses_victim:
                assert left[0].replica_id == seen[1].replica_id
            await actuator.apply(order(0, stop=[left[0].replica_id]))
            await when(actuator, lambda s: not s)

    asyncio.run(run())


def test_replicas_outlive_it_and_the_next_one_finds_them(build):
    async def run():
        async with begun(build) as actuator:
            if not actuator.capabilities.starts:
                return
            await actuator.apply(order(1, start=1))
            (first,) = await when(actuator, lambda s: [r.state for r in s] == [ReplicaState.READY])
        async with begun(build) as actuator:
            (again,) = await actuator.observe()
            assert (again.replica_id, again.node_id) == (first.replica_id, first.node_id)
            assert again.state is ReplicaState.READY
            await actuator.apply(order(0, stop=[again.replica_id]))
            await when(actuator, lambda s: not s)

    asyncio.run(run())


def test_a_replica_that_is_not_there_is_no_reason_to_fail(build):
    async def run():
        async with begun(build) as actuator:
            await actuator.apply(order(0, stop=["never-was"]))
            assert not await actuator.resize("never-was", 1, 1.0, 1)
            assert list(await actuator.observe()) == []

    asyncio.run(run())


def test_closing_what_never_began_does_no_harm(build):
    asyncio.run(build().close())


def test_what_stops_without_a_controller_stops_all(module, build, ledger):
    if not hasattr(module, "stop_all"):
        return

    async def run():
        said = []
        async with begun(build) as actuator:
            await actuator.apply(order(2, start=2))
            await when(actuator, lambda s: [r.state for r in s] == [ReplicaState.READY] * 2)
        await module.stop_all(ledger, said.append)
        assert len(said) == 2
        assert ledger.entries() == {}
        with contextlib.suppress(MeshlbError):
            await module.stop_all(ledger, said.append)
        assert len(said) == 2

    asyncio.run(run())
