"""Real processes over loopback: controller, sidecars and plain gRPC servers, always stopped."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import grpc
import pytest

from meshlb.v1 import balance_pb2, balance_pb2_grpc

# A server that knows nothing of meshlb: echoes its name after a set time, c calls at once.
PLAIN_SERVER = textwrap.dedent("""
    import sys, threading, time
    from concurrent import futures
    import grpc
    name, service_s, slots = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    gate = threading.Semaphore(slots)
    def ask(request, context):
        with gate:
            time.sleep(service_s)
        return name.encode()
    def stream(request, context):
        for n in range(int(request or b"10")):
            time.sleep(service_s)
            yield f"{name} {n}".encode()
    class Methods(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method == "/plain.Plain/Ask":
                return grpc.unary_unary_rpc_method_handler(ask)
            if details.method == "/plain.Plain/Stream":
                return grpc.unary_stream_rpc_method_handler(stream)
            return None
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Methods()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"port={port}", flush=True)
    server.wait_for_termination()
""")


class Processes:
    """Starts programs and stops each of them at the end, by pid."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.running = []

    def start(self, *command, wait_for=None, limit_s=120):
        """Start a program; with ``wait_for``, return the match of that pattern in its output."""
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        process.log = log
        self.running.append(process)
        if wait_for is None:
            return process, None
        give_up = time.monotonic() + limit_s
        while time.monotonic() < give_up:
            found = re.search(wait_for, log.read_text())
            if found:
                return process, found
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{command} did not print {wait_for!r}:\n{log.read_text()}")

    def server(self, name="s", service_s=0.001, slots=64):
        process, found = self.start(
            "-c", PLAIN_SERVER, name, service_s, slots, wait_for=r"port=(\d+)"
        )
        process.address = f"127.0.0.1:{found[1]}"
        return process

    def controller(self, listen="127.0.0.1:0", *more, limit_s=60):
        process, found = self.start(
            "-m", "meshlb.cli", "controller", "--listen", listen, *more,
            wait_for=r"127\.0\.0\.1:([1-9]\d*)", limit_s=limit_s,
        )  # fmt: skip
        process.address = f"127.0.0.1:{found[1]}"
        return process

    def sidecar(self, controllers, server, service="plain", *more):
        process, _ = self.start(
            "-m", "sidecar", "--controller", controllers, "--service", service,
            "--node", server.address, "--pid", server.pid, *more,
        )  # fmt: skip
        return process

    def stop(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.running:
            process.wait()


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def nodes_when():
    """Return a function that waits until a service's nodes satisfy a condition, and gives them."""

    def wait(controller, condition, service="plain", limit_s=120):
        with grpc.insecure_channel(controller) as channel:
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            request = balance_pb2.ListNodesRequest()
            give_up = time.monotonic() + limit_s
            while True:
                listed = stub.ListNodes(request, timeout=60, wait_for_ready=True).nodes
                nodes = [node for node in listed if node.node.service == service]
                if condition(nodes):
                    return nodes
                assert time.monotonic() < give_up, f"nodes stayed at {nodes}"
                time.sleep(0.05)

    return wait
