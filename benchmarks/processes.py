"""Programs that a benchmark starts, and stops by their own pids whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import machine

HERE = Path(__file__).resolve().parent
START_LIMIT_S = 120.0


class Processes:
    """A set of running programs; all are killed at the end of its block."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        # Else a benchmark that is told to end would leave all of these behind.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._running):
            if process.poll() is None:
                process.kill()
        for process in self._running:
            process.wait()

    def start(
        self, *command: object, quiet: bool = True, talk: bool = False, log: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start a program with its output readable; with ``talk``, its input writable.

        ``log`` is a file that its standard error is added to.
        """
        with Path(os.devnull if log is None else log).open("ab") as errors:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors if quiet or log is not None else None,
                text=True,
            )
        self._running.append(process)
        return process

    def python(
        self, *command: object, quiet: bool = True, talk: bool = False, log: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start a Python program."""
        return self.start(sys.executable, *command, quiet=quiet, talk=talk, log=log)

    def cpu_seconds(self, after: int = 0) -> float:
        """Return the CPU time used by all that was started after the first so many."""
        running = [one for one in self._running[after:] if one.poll() is None]
        return sum(machine.cpu_seconds(one.pid) for one in running)

    def servers(self, means_ms: list[float], slots: int, seed: int = 0) -> list[int]:
        """Start plain servers; return their ports."""
        made = [
            self.python(HERE / "plain_server.py", mean, slots, 1000 * seed + number)
            for number, mean in enumerate(means_ms)
        ]
        return [int(one.stdout.readline()) for one in made if one.stdout is not None]

    def controller(self) -> tuple[str, subprocess.Popen[str]]:
        """Start a controller on a free port; return its address and process."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        process = self.python(
            "-m", "meshlb.cli", "controller", "--listen", address, "--log-level", "error"
        )
        wait_for_port(port)
        return address, process

    def sidecar(
        self, controller: str, service: str, port: int, slots: int | None
    ) -> subprocess.Popen[str]:
        """Start a sidecar beside the server on a port."""
        more = [] if slots is None else ["--slots", slots]
        return self.python(
            "-m", "sidecar", "--controller", controller, "--service", service,
            "--node", f"127.0.0.1:{port}", "--log-level", "error", *more,
        )  # fmt: skip

    def sidecars(
        self, controller: str, service: str, ports: list[int], slots: int | None, known: int = 0
    ) -> None:
        """Start a sidecar beside each server; wait until the controller knows them too.

        ``known`` is how many nodes it knows already.
        """
        for port in ports:
            self.sidecar(controller, service, port, slots)
        give_up = time.monotonic() + START_LIMIT_S
        while len(nodes(controller)) < known + len(ports):
            if time.monotonic() > give_up:
                raise TimeoutError("the sidecars' nodes did not appear at the controller")
            time.sleep(0.2)


def nodes(controller: str, *identity: object) -> list[dict[str, object]]:
    """Return what the controller says of its nodes; asked by a program, so that we can fork.

    ``identity``: flags that say who asks, where the controller wants to know.
    """
    asked = subprocess.run(
        [
            sys.executable, "-m", "meshlb.cli", "nodes", "--json", "--controller", controller,
            *map(str, identity),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: list[dict[str, object]] = json.loads(asked.stdout)["nodes"] if asked.stdout else []
    return found


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    give_up = time.monotonic() + START_LIMIT_S
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > give_up:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)
