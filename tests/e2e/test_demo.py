"""The demo as a user runs it, short: real processes, a real kill, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(400)  # a busy machine starts so many processes slowly
FLEET = ("--act", "balance", "--nodes", "4,4,1", "--clients", "1", "--load", "0.4")


@pytest.fixture
def start(tmp_path):
    started = []

    def run(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


def test_no_call_fails_though_a_server_is_killed(start, tmp_path):
    demo = start("--seconds", "6", "--plain", "--json", "figures.json", *FLEET)
    out, err = demo.communicate(timeout=300)
    assert demo.returncode == 0, out + err
    figures = json.loads((tmp_path / "figures.json").read_text())
    other = figures["round_robin"]
    assert figures["failed_calls"] == figures["broken_streams"] == 0
    assert figures["killed"] == "node-1"
    assert figures["calls"] == other["calls"] > 0
    for fleet in (figures, other):
        assert fleet["p50_ms"] <= fleet["p99_ms"]
        assert [node["node"] for node in fleet["nodes"]] == ["node-1", "node-2", "node-3"]
        assert [node["killed"] for node in fleet["nodes"]] == [True, False, False]
        assert sum(node["calls"] for node in fleet["nodes"]) > 0
    assert "node-1 killed" in out
    assert "No call failed under meshlb." in out


@pytest.mark.timeout(240)
def test_a_fleet_scales_and_no_stream_breaks(start, tmp_path):
    demo = start("--act", "scale", "--seconds", "20", "--plain", "--json", "figures.json")
    out, err = demo.communicate(timeout=200)
    assert demo.returncode == 0, out + err
    figures = json.loads((tmp_path / "figures.json").read_text())["scaling"]
    assert figures["calls"] > 0
    assert figures["failed_calls"] == figures["broken_streams"] == 0
    assert figures["decisions"] == len(figures["targets"]) >= 1
    assert figures["peak_nodes"] >= 1
    assert figures["node_seconds"] > 0
    assert figures["static_node_seconds"] > 0
    assert "ordered" in out
    assert "No call failed, no stream broke." in out


@pytest.mark.timeout(240)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("words", "count"),
    [(FLEET, 2 * 3 + 3 + 1 + 2), (("--act", "scale", "--clients", "1"), 1 + 1 + 2 + 1)],
    ids=["balance", "scale"],
)
def test_no_child_outlives_the_demo(start, sign, words, count):
    demo = start("--seconds", "30", "--plain", *words)
    for line in demo.stdout:
        if line.startswith("Ready"):
            break
    born = children(demo)
    assert len(born) >= count
    demo.send_signal(sign)
    demo.wait(timeout=100)
    give_up = time.monotonic() + 60
    while any(child.is_running() for child in born) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert [child for child in born if child.is_running()] == []


def test_bad_arguments_are_one_line(start):
    demo = start("--seconds", "0", "--nodes", "none")
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "--seconds 0: 4 to 3600; --nodes none: " in err
