"""Scaling by real processes: out and in under load, through kills of the controller, to none."""

import json
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import grpc
import psutil
import pytest

import meshlb
from meshlb.v1 import balance_pb2, balance_pb2_grpc, scale_pb2, scale_pb2_grpc

pytestmark = pytest.mark.timeout(300)
LIMIT_S = 90
SERVER = Path(__file__).with_name("scaled_server.py")
CONFIG = """
[service.plain.scale]
stable_window_s = 2
panic_window_s = 1
scale_in_window_s = 1
rate_period_s = 1
{policy}
[[service.plain.scale.rules]]
kind = "group"
signal = "in_flight"
target = 4
[service.plain.actuator]
kind = "process"
command = {command}
log_dir = {logs}
"""
STARTING, READY = scale_pb2.REPLICA_STATE_STARTING, scale_pb2.REPLICA_STATE_READY
DRAINING = scale_pb2.REPLICA_STATE_DRAINING


def until(what, check, limit_s=LIMIT_S):
    """Wait until a condition holds, and return what it gave."""
    give_up = time.monotonic() + limit_s
    while not (found := check()):
        assert time.monotonic() < give_up, what() if callable(what) else what
        time.sleep(0.05)
    return found


class Mesh:
    """One controller that starts replicas; ``kill`` and ``start`` put another in its place."""

    def __init__(self, processes, folder, policy):
        self.folder = folder
        self.state = folder / "state.db"
        self._processes = processes
        self._config = folder / "meshlb.toml"
        command = [sys.executable, str(SERVER), "{address}", str(folder)]
        logs = json.dumps(str(folder / "logs"))
        self._config.write_text(
            CONFIG.format(policy=policy, command=json.dumps(command), logs=logs)
        )
        self.address = "127.0.0.1:0"
        self.start()

    def start(self):
        self.controller = self._processes.controller(
            self.address, "--config", self._config, "--state", self.state, limit_s=LIMIT_S
        )
        self.address = self.controller.address
        self.channel = grpc.insecure_channel(self.address)
        self.stub = scale_pb2_grpc.ScaleServiceStub(self.channel)

    def kill(self):
        self.channel.close()
        self.controller.kill()
        self.controller.wait()

    def end(self):
        """End the controller, then all replicas that its file names."""
        self.kill()
        command = [sys.executable, "-m", "meshlb.cli", "down", "--state", self.state]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert self.servers() == {}

    def allow(self, what):
        (self.folder / what).touch()

    def set(self, count):
        request = scale_pb2.SetScaleRequest(service="plain", request_id=uuid.uuid4().hex)
        request.manual.count = count
        return self.stub.SetScale(request, timeout=LIMIT_S, wait_for_ready=True).scale

    def get(self):
        request = scale_pb2.GetScaleRequest(service="plain")
        return self.stub.GetScale(request, timeout=LIMIT_S, wait_for_ready=True).scale

    def replicas(self, *states):
        return {r.replica_id for r in self.get().replicas if not states or r.state in states}

    def until_ready(self, count):
        """Wait until just so many replicas take calls, and there is no other; return their ids."""
        found = []

        def check():
            found[:] = [self.get()]
            scale = found[0]
            ready = [r.replica_id for r in scale.replicas if r.state == READY]
            found.append(set(ready))
            return len(ready) == count == scale.ready_count == len(scale.replicas)

        until(lambda: f"{count} ready: {found[0]}", check)
        return found[1]

    def nodes(self):
        stub = balance_pb2_grpc.BalanceServiceStub(self.channel)
        asked = stub.ListNodes(balance_pb2.ListNodesRequest(), timeout=LIMIT_S, wait_for_ready=True)
        return {node.node.node_id: node.node.address for node in asked.nodes}

    def servers(self):
        """Return the pids of the servers that run, by address."""
        found = {}
        for one in psutil.process_iter(["cmdline", "status"]):
            words = one.info["cmdline"] or []
            if str(SERVER) in words and str(self.folder) in words:
                found[words[-2]] = one.pid
        return found

    def ever(self):
        """Return the replicas that were ever started."""
        return {path.name.partition(".")[0] for path in (self.folder / "logs").glob("*.server.log")}


class Streams:
    """Streams over one stub, each read by a thread of its own, and what came of them."""

    def __init__(self, mesh, count, nodes=1):
        self._channel = meshlb.insecure_channel(f"mesh://{mesh.address}/plain")
        self.ask = self._channel.unary_unary("/plain.Plain/Ask")
        until(  # else all may go to the one that is connected first, and stay there
            f"{nodes} are connected",
            lambda: len({self.ask(b"", timeout=LIMIT_S) for _ in range(20)}) >= nodes,
        )
        self.received = [[] for _ in range(count)]
        self.problems = []
        self._threads = [
            threading.Thread(target=self._read, args=(into,), daemon=True) for into in self.received
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, into):
        stream = self._channel.unary_stream("/plain.Plain/Stream")
        try:
            for message in stream(b"", timeout=5 * LIMIT_S):
                into.append(message.decode())
        except grpc.RpcError as error:
            self.problems.append(f"{error.code()}: {error.details()}")

    def go_on(self):
        """Wait until every stream has got something more."""
        before = [len(received) for received in self.received]
        until(
            f"streams go on: {self.problems}",
            lambda: all(len(r) > b for r, b in zip(self.received, before, strict=True)),
        )

    def whole(self):
        """Wait for their ends; assert that each is whole."""
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert self.problems == []
        for received in self.received:
            numbers = [str(number) for number in range(len(received) - 2)]
            assert received[1:] == [*numbers, "end"]
        self._channel.close()


@pytest.fixture
def mesh(processes, tmp_path):
    """Return a function that starts a controller; it and all replicas are stopped at the end."""
    made = []

    def start(policy):
        made.append(Mesh(processes, tmp_path, policy))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_a_policy_scales_out_and_in_and_no_stream_breaks(mesh):
    scaled = mesh("min = 1\nmax = 3")
    scaled.allow("may-serve")
    scaled.until_ready(1)
    streams = Streams(scaled, 12)
    streams.go_on()
    scaled.until_ready(3)
    assert "group wants 3" in scaled.get().decision.reason
    streams.go_on()
    scaled.allow("may-end")
    streams.whole()
    scaled.until_ready(1)
    assert len(scaled.ever()) == 3


def test_a_controller_killed_during_scale_out_starts_nothing_twice(mesh):
    scaled = mesh("min = 1\nmax = 9")
    scaled.allow("may-serve")
    (first,) = scaled.until_ready(1)
    streams = Streams(scaled, 3)
    streams.go_on()
    (scaled.folder / "may-serve").unlink()
    assert scaled.set(3).target_count == 3
    until("3 servers run", lambda: len(scaled.servers()) == 3)
    scaled.kill()
    streams.go_on()
    servers = scaled.servers()
    scaled.start()
    assert scaled.get().manual.count == 3
    until("the two are found", lambda: len(scaled.replicas(STARTING)) == 2)
    scaled.allow("may-serve")
    ready = scaled.until_ready(3)
    assert first in ready
    assert scaled.servers() == servers
    assert scaled.ever() == ready
    streams.go_on()
    scaled.allow("may-end")
    streams.whole()


def test_a_controller_killed_during_a_drain_finishes_it(mesh):
    scaled = mesh("min = 1\nmax = 9")
    scaled.allow("may-serve")
    scaled.set(2)
    both = scaled.until_ready(2)
    streams = Streams(scaled, 8, nodes=2)
    streams.go_on()
    until("both have streams", lambda: len({r[0] for r in streams.received}) == 2)
    pause = scale_pb2.PauseScaleRequest(service="plain", request_id="p")
    pause.pause.reason = "a drain is under way"
    assert scaled.set(1).target_count == 1
    scaled.stub.PauseScale(pause, timeout=LIMIT_S)
    (leaving,) = until("one drains", lambda: scaled.replicas(DRAINING))
    leaves = scaled.nodes()[leaving]
    scaled.kill()
    streams.go_on()
    scaled.start()
    assert scaled.get().manual.count == 1
    assert scaled.get().pause.reason == "a drain is under way"
    until("both are found", lambda: scaled.replicas(DRAINING, READY) == both)
    streams.go_on()
    # The killed one may not have told clients yet; the new one does once its table is complete.
    until(
        "nobody calls the one that leaves",
        lambda: leaves.encode() not in {streams.ask(b"", timeout=LIMIT_S) for _ in range(50)},
    )
    assert leaves in scaled.servers()
    scaled.allow("may-end")
    streams.whole()
    assert scaled.until_ready(1) == both - {leaving}
    assert leaves not in scaled.servers()
    assert scaled.ever() == both


def test_calls_that_wait_at_none_bring_a_node_and_are_served(mesh):
    scaled = mesh("min = 0\nmax = 2\nidle_limit_s = 1")
    scaled.allow("may-serve")
    scaled.allow("may-end")
    for _ in range(2):
        scaled.until_ready(0)
        streams = Streams(scaled, 6)
        streams.whole()
        assert all(received[0] for received in streams.received)
    scaled.until_ready(0)
    assert scaled.servers() == {}
