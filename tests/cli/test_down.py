"""``meshlb down``: all that a state file names is stopped, whether or not a controller runs."""

import argparse
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from meshlb import os_process
from meshlb.cli import down
from meshlb.controller import state_file
from meshlb.controller.store import Store
from meshlb.errors import UnavailableError

LIMIT_S = 40.0
SERVER = textwrap.dedent("""
    import sys
    from concurrent import futures
    import grpc
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()
""")
CONFIG = """
[service.plain.scale]
min = 2
max = 2
[[service.plain.scale.rules]]
kind = "reserve"
target = 100
[service.plain.actuator]
kind = "process"
command = {command}
log_dir = {logs}
"""


class Fleet:
    """A controller with a state file, and what that file names."""

    def __init__(self, folder):
        self.state = folder / "state.db"
        self.config = folder / "meshlb.toml"
        self.log = folder / "controller.log"
        self.tokens = set()
        self.controllers = []
        command = json.dumps([sys.executable, "-c", SERVER, "{address}"])
        self.config.write_text(CONFIG.format(command=command, logs=json.dumps(str(folder))))

    def start(self):
        arguments = ["--listen", "127.0.0.1:0", "--config", self.config, "--state", self.state]
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "meshlb.cli", "controller", *map(str, arguments)],
                stdout=out, stderr=out,
            )  # fmt: skip
        self.controllers.append(process)
        return process

    def entries(self):
        if not self.state.exists():
            return []
        try:
            found = state_file.ledgers(self.state).get(("plain", "process"), {})
        except ValueError:  # it is being made
            return []
        entries = [json.loads(entry) for entry in found.values()]
        self.tokens |= {entry[role]["token"] for entry in entries for role in ("server", "sidecar")}
        return entries

    def until_ready(self, count=2):
        give_up = time.monotonic() + LIMIT_S
        while True:
            entries = self.entries()
            # With its sidecar named nothing more of it is written soon.
            if sum(e["state"] == "ready" and e["sidecar"]["process"] is not None
                   for e in entries) == count:  # fmt: skip
                return entries
            assert time.monotonic() < give_up, (entries, self.log.read_text())
            time.sleep(0.05)

    def running(self):
        self.entries()
        return [one for names in os_process.carriers(self.tokens).values() for one in names]

    def end(self):
        for process in self.controllers:
            process.kill()
            process.wait()
        for one in self.running():
            os_process.send(one, signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path)
    yield made
    made.end()


def meshlb_down(state):
    return subprocess.run(
        [sys.executable, "-m", "meshlb.cli", "down", "--state", str(state)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def test_a_controller_that_runs_is_ended_first_and_then_its_replicas(fleet):
    controller = fleet.start()
    fleet.until_ready()
    ran = meshlb_down(fleet.state)

    assert (ran.returncode, ran.stderr) == (0, "")
    first, *others = ran.stdout.splitlines()
    assert first == f"controller (pid {controller.pid}): SIGTERM"
    assert len(others) == 2
    assert all("stopped by SIGTERM" in line for line in others)
    assert controller.wait(LIMIT_S) == 0
    assert fleet.entries() == []
    assert fleet.running() == []


def test_what_a_killed_controller_left_is_stopped(fleet):
    controller = fleet.start()
    fleet.until_ready()
    controller.kill()
    controller.wait()
    assert len(fleet.running()) == 4
    ran = meshlb_down(fleet.state)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == 2
    assert fleet.running() == []
    again = meshlb_down(fleet.state)
    assert (again.returncode, again.stdout) == (0, f"no replicas are named in {fleet.state}\n")


def test_a_controller_that_does_not_end_is_killed(fleet, monkeypatch, capsys):
    controller = fleet.start()
    fleet.until_ready()
    controller.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(down, "ENDINGS", ((signal.SIGTERM, 0.2), (signal.SIGKILL, LIMIT_S)))
    assert down.run(argparse.Namespace(state=str(fleet.state))) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in said[:2]] == ["SIGTERM", "SIGKILL"]
    assert fleet.running() == []


@pytest.mark.parametrize("content", [None, b"", b"not a database, but long enough to be one" * 99])
def test_what_is_no_state_file_is_refused_and_none_is_made(tmp_path, content):
    path = tmp_path / "state.db"
    if content is not None:
        path.write_bytes(content)
    ran = meshlb_down(path)

    assert ran.returncode == 2
    assert f"state = {str(path)!r}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert path.exists() == (content is not None)


def test_what_another_kind_started_is_said_and_the_rest_is_stopped(tmp_path, capsys):
    path = tmp_path / "state.db"
    store = Store(path, 60.0)
    store.ledger("a", "none").put("a-1", {"x": 1})
    store.ledger("b", "process").put("b-1", {"node_id": "b-1"})
    store.ledger("c", "gone-plugin").put("c-1", {})
    store._thread.submit(store._file.close).result()
    with pytest.raises(UnavailableError) as raised:
        down.run(argparse.Namespace(state=str(path)))
    assert "a: a-1: started by actuator 'none'" in str(raised.value)
    assert "'b-1'" in str(raised.value)
    assert "gone-plugin" in str(raised.value)
    assert "b-1: not stopped" in capsys.readouterr().out


def test_the_holder_of_a_file_is_known_while_it_runs(tmp_path):
    path = tmp_path / "state.db"
    assert state_file.holder(path) is None
    store = Store(path, 60.0)
    assert state_file.holder(path).pid == os.getpid()
    store._thread.submit(store._file.close).result()
    lock = tmp_path / "state.db.lock"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "started_s": 0.5}))
    assert state_file.holder(path) is None, "another process has that pid now"
