"""A controller that starts and stops real model servers, is killed, and breaks no call."""

import asyncio
import contextlib
import json
import signal
import sys
import textwrap
import threading
import uuid

import grpc
import pytest

import meshlb
from meshlb.actuators import process
from meshlb.controller import state_file
from meshlb.v1 import scale_pb2, scale_pb2_grpc
from tests.waiting import until

SERVER = textwrap.dedent("""
    import sys, time
    from concurrent import futures
    import grpc
    def stream(request, context):
        for n in range(int(request)):
            time.sleep(0.02)
            yield str(n).encode()
    class Methods(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method == "/plain.Plain/Stream":
                return grpc.unary_stream_rpc_method_handler(stream)
            return None
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Methods()])
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()
""")
CONFIG = """
[controller]
grace_s = 1
[service.plain.scale]
min = 0
max = 5
stable_window_s = 1
panic_window_s = 0.5
scale_in_window_s = 0
[[service.plain.scale.rules]]
kind = "reserve"
target = 100
[service.plain.actuator]
kind = "process"
command = {command}
"""


class Ledger:
    """The ledger of a state file whose controller is gone."""

    def __init__(self, path, service):
        found = state_file.ledgers(path).get((service, "process"), {})
        self._entries = {key: json.loads(entry) for key, entry in found.items()}

    def entries(self):
        return self._entries

    def remove(self, replica_id):
        self._entries.pop(replica_id, None)


@pytest.fixture
def scaled(processes, tmp_path):
    """Return a function that starts, or starts again, the controller; all ends with the test."""
    state, config = tmp_path / "state.db", tmp_path / "meshlb.toml"
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    config.write_text(CONFIG.format(command=json.dumps([sys.executable, str(server), "{address}"])))
    running = []

    def start():
        listen = running[-1].address if running else "127.0.0.1:0"
        running.append(processes.controller(listen, "--config", config, "--state", state))
        return running[-1]

    yield start
    running[-1].send_signal(signal.SIGTERM)
    running[-1].wait(30)
    asyncio.run(process.stop_all(Ledger(state, "plain"), print))


class Asks:
    """ScaleService of one service, over controllers that come and go at one address."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 200)])
        self._stub = scale_pb2_grpc.ScaleServiceStub(self._channel)

    def close(self):
        self._channel.close()

    def get(self):
        request = scale_pb2.GetScaleRequest(service="plain")
        return self._stub.GetScale(request, timeout=60, wait_for_ready=True).scale

    def set(self, count):
        request = scale_pb2.SetScaleRequest(
            service="plain", request_id=str(uuid.uuid4()), manual=scale_pb2.ManualScale(count=count)
        )
        return self._stub.SetScale(request, timeout=60, wait_for_ready=True).scale

    def settled(self, count):
        """Wait until just so many replicas are there, all of them serving."""

        def check():
            scale = self.get()
            ready = [r for r in scale.replicas if r.state == scale_pb2.REPLICA_STATE_READY]
            good = scale.ready_count == len(ready) == count == len(scale.replicas)
            return scale if good else None

        return until(check, 60)


@pytest.mark.timeout(300)
def test_replicas_outlive_a_killed_controller_and_leave_without_a_broken_stream(scaled):
    controller = scaled()
    with contextlib.closing(Asks(controller.address)) as asks:
        asks.set(3)
        before = {r.replica_id for r in asks.settled(3).replicas}

        controller.kill()
        controller.wait()
        controller = scaled()
        scale = asks.settled(3)
        assert {r.replica_id for r in scale.replicas} == before
        assert scale.target_count == 3
        assert not scale.problem

        ended = []
        stop = threading.Event()
        with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
            call = channel.unary_stream("/plain.Plain/Stream")

            def stream():
                while not stop.is_set():
                    ended.append(len(list(call(b"30", timeout=60, wait_for_ready=True))))

            callers = [threading.Thread(target=stream, daemon=True) for _ in range(6)]
            for caller in callers:
                caller.start()
            until(lambda: len(ended) >= 6)
            asks.set(1)
            asks.settled(1)
            asks.set(2)
            left = {r.replica_id for r in asks.settled(2).replicas}
            stop.set()
            for caller in callers:
                caller.join(60)
        assert set(ended) == {30}
        assert len(left & before) == 1


@pytest.mark.timeout(300)
def test_a_killed_controller_goes_on_with_a_drain_and_rests_at_none(scaled):
    controller = scaled()
    with contextlib.closing(Asks(controller.address)) as asks:
        asks.set(2)
        asks.settled(2)
        with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
            call = channel.unary_stream("/plain.Plain/Stream")
            streams = [call(b"250", timeout=120, wait_for_ready=True) for _ in range(4)]
            for stream in streams:
                next(stream)
            asks.set(0)
            until(lambda: asks.get().draining_count == 2)
            controller.kill()
            controller.wait()
            controller = scaled()
            assert [len(list(stream)) for stream in streams] == [249] * 4
            asks.settled(0)
            last = call(b"1", timeout=60, wait_for_ready=True)
            asks.set(1)  # what waits in the stub is served as soon as there is a node
            assert len(list(last)) == 1
