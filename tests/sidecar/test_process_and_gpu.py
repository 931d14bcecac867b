"""Which process is measured, and what NVML's answers become."""

import asyncio
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from sidecar.probes import Node, gpu, process

LISTENER = """
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener():
    running = []

    def start(port=0):
        made = subprocess.Popen(
            [sys.executable, "-c", LISTENER, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(made)
        made.port = int(made.stdout.readline())
        return made

    yield start
    for one in running:
        one.kill()
        one.communicate()


@pytest.fixture
def always(monkeypatch):
    """Readings that are never held back."""
    monkeypatch.setattr(process, "PERIOD_S", 0.0)
    monkeypatch.setattr(process, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(gpu, "PERIOD_S", 0.0)


def read(probe):
    return asyncio.run(probe.read())


def test_a_server_that_ends_is_looked_for_again_by_its_port(listener, always):
    first = listener()
    probe = process.Probe(Node(f"127.0.0.1:{first.port}", first.pid))
    assert "process_cpu_cores" not in read(probe)  # one reading tells no rate
    found = read(probe)
    assert found["process_memory_bytes"] > 1e6
    assert found["process_cpu_cores"] >= 0
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet waited for
    assert read(probe) == {}
    second = listener(first.port)
    assert read(probe)["process_memory_bytes"] > 1e6
    assert probe._main.pid == second.pid


def test_the_children_count_too(always):
    me = process.Probe(Node("192.0.2.1:1", os.getpid()))
    with subprocess.Popen([sys.executable, "-c", "print(1); input()"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:  # fmt: skip
        child.stdout.readline()
        assert read(me)["process_memory_bytes"] > 1e6
        assert {os.getpid(), child.pid} <= me._used.keys()


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_server_elsewhere_or_none_is_unknown(always, pid):
    assert read(process.Probe(Node("192.0.2.1:1", pid))) == {}


def nvml(devices, **more):
    """Return a stand-in for the module, with (use, used, total) a device."""
    made = ModuleType("pynvml")
    made.NVMLError = type("NVMLError", (Exception,), {})
    made.NVMLError_NotSupported = type("NVMLError_NotSupported", (made.NVMLError,), {})

    def utilization(device):
        if device[0] is None:
            raise made.NVMLError_NotSupported
        return SimpleNamespace(gpu=device[0])

    made.nvmlInit = made.nvmlShutdown = lambda: None
    made.nvmlDeviceGetCount = lambda: len(devices)
    made.nvmlDeviceGetHandleByIndex = lambda i: devices[i]
    made.nvmlDeviceGetUtilizationRates = utilization
    made.nvmlDeviceGetMemoryInfo = lambda d: SimpleNamespace(used=d[1], total=d[2])
    vars(made).update(more)
    return made


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([(50, 1, 4), (100, 3, 4)], {"gpu": 0.75, "gpu_memory": 0.5}),
        ([(None, 1, 4)], {"gpu_memory": 0.25}),
        ([], {}),
    ],
)
def test_gpus_are_averaged(monkeypatch, always, devices, expected):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(devices))
    assert read(gpu.Probe(Node("127.0.0.1:1"))) == expected


def test_without_nvml_or_its_driver_nothing_is_known(monkeypatch, always):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read(gpu.Probe(Node("127.0.0.1:1"))) == {}
    module = nvml([(1, 1, 1)])

    def no_driver():
        raise module.NVMLError

    module.nvmlInit = no_driver
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert read(gpu.Probe(Node("127.0.0.1:1"))) == {}
