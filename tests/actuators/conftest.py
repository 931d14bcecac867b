"""Real model servers and sidecars on loopback; whatever a test starts is ended by its token."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import grpc
import pytest

from meshlb import os_process
from meshlb.actuators import Context, Order
from meshlb.actuators.process import Params, build
from meshlb.scale_model import ReplicaState

LIMIT_S = 30.0
SERVER = textwrap.dedent("""
    import os, signal, subprocess, sys, time
    from concurrent import futures
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    address, options = sys.argv[1], sys.argv[2:]
    for option in options:
        while option.startswith("gate=") and not os.path.exists(option[5:]):
            time.sleep(0.02)
    if "worker" in options:
        subprocess.Popen(["sleep", "1000"])
    if "deaf" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    if "plain" not in options:
        said = health.HealthServicer()
        said.set("", health_pb2.HealthCheckResponse.NOT_SERVING if "sick" in options
                 else health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(said, server)
    server.add_insecure_port(address)
    server.start()
    print(f"listening on {address}", flush=True)
    server.wait_for_termination()
""")


OWNER = textwrap.dedent("""
    import asyncio, importlib.util, json, os, pathlib, signal, sys
    spec = importlib.util.spec_from_file_location("actuators_conftest", sys.argv[1])
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    told = json.loads(sys.argv[2])

    class Ledger(conftest.FileLedger):
        count = 0
        def put(self, replica_id, entry):
            self.count += 1
            if self.count == told["die_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            super().put(replica_id, entry)

    async def run():
        bench = conftest.Bench(pathlib.Path(told["folder"]))
        bench.controllers = told["controllers"]
        bench.ledger = Ledger(bench.ledger.path)
        async with bench.actuator(*told["options"], **told["more"]) as actuator:
            await actuator.apply(bench.order(1, start=1))
            await asyncio.Event().wait()

    asyncio.run(run())
""")


class FileLedger:
    """A ledger in a JSON file, as another process can read it; remembers every token."""

    def __init__(self, path):
        self.path = Path(path)
        self._lock = threading.Lock()
        self.tokens = set()
        self.puts = []

    def entries(self):
        with self._lock:
            return json.loads(self.path.read_text()) if self.path.exists() else {}

    def put(self, replica_id, entry):
        with self._lock:
            entry = json.loads(json.dumps(entry))
            self.puts.append((replica_id, entry))
            self.tokens |= {entry[role]["token"] for role in ("server", "sidecar")}
            self._write(self._read() | {replica_id: entry})

    def remove(self, replica_id):
        with self._lock:
            self._write({i: e for i, e in self._read().items() if i != replica_id})

    def _read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def _write(self, entries):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(entries))
        new.replace(self.path)


async def until(true, what="", limit_s=LIMIT_S):
    """Wait until ``true()``, or what it awaits, holds; return it."""
    give_up = time.monotonic() + limit_s
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < give_up, f"waited {limit_s} s in vain: {what or true}"
        await asyncio.sleep(0.02)


class Bench:
    """Actuators of one service over one ledger."""

    def __init__(self, folder):
        self.folder = folder
        self.server = folder / "server.py"
        self.server.write_text(SERVER)
        self.ledger = FileLedger(folder / "ledger.json")
        self.controllers = "127.0.0.1:1"
        """Nobody is there: sidecars run on, and try again."""
        self._owners = []

    def params(self, *options, **more):
        command = (sys.executable, str(self.server), "{address}", *options)
        wanted = {"sidecar": False, "log_dir": str(self.folder / "logs"), "backoff_s": 0.05,
                  "grace_s": 10.0, "ready_limit_s": LIMIT_S} | more  # fmt: skip
        return Params(**{"command": command, **wanted})

    def context(self):
        return Context(self.controllers, self.ledger)

    def build(self, *options, **more):
        return build("s", self.params(*options, **more), self.context())

    @contextlib.asynccontextmanager
    async def actuator(self, *options, **more):
        made = self.build(*options, **more)
        await made.start()
        try:
            yield made
        finally:
            await made.close()

    def running(self):
        """Return all processes that carry a token of this test."""
        with self.ledger._lock:
            tokens = set(self.ledger.tokens)
            for entry in self.ledger._read().values():
                tokens |= {entry[role]["token"] for role in ("server", "sidecar")}
        return [one for names in os_process.carriers(tokens).values() for one in names]

    def owner(self, *options, die_at=0, **more):
        """Start a process that begins one replica and waits; it dies at its so manieth put."""
        told = {"folder": str(self.folder), "options": options, "die_at": die_at, "more": more,
                "controllers": self.controllers}  # fmt: skip
        process = subprocess.Popen([sys.executable, "-c", OWNER, __file__, json.dumps(told)])
        self._owners.append(process)
        return process

    async def entry(self, true=lambda entry: True, what="an entry"):
        """Wait for the ledger's one entry that satisfies a condition; return its id."""

        def look():
            return [i for i, entry in self.ledger.entries().items() if true(entry)]

        (found,) = await until(look, what)
        return found

    def end(self):
        for process in self._owners:
            process.kill()
            process.wait()
        give_up = time.monotonic() + LIMIT_S
        while left := self.running():
            assert time.monotonic() < give_up, left
            for one in left:
                os_process.send(one, signal.SIGKILL)
            time.sleep(0.01)
        # Those that were let go are children of the tests' process still.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    order = staticmethod(
        lambda target, start=0, stop=(), withdrawn=(), decision_id=1: Order(
            "s", target, start, stop, decision_id, "as the test wants", withdrawn
        )
    )
    until = staticmethod(until)

    @staticmethod
    async def in_state(actuator, state, count=1):
        """Wait until so many replicas are in a state; return them."""

        async def look():
            found = [r for r in await actuator.observe() if r.state is state]
            return found if len(found) == count else None

        try:
            return await until(look, f"{count} {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await actuator.observe()}") from error

    async def ready(self, actuator, count=1):
        return await self.in_state(actuator, ReplicaState.READY, count)

    async def gone(self, actuator):
        async def look():
            return not [r for r in await actuator.observe() if r.state is not ReplicaState.LOST]

        await until(look, "all replicas are gone")

    def pid(self, replica_id, role="server"):
        return self.ledger.entries()[replica_id][role]["process"]["pid"]

    def serves(self, replica_id):
        """Return whether a fresh connection to the replica becomes ready."""
        address = self.ledger.entries()[replica_id]["address"]
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            grpc.channel_ready_future(channel).result(LIMIT_S)
        return True


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.end()
