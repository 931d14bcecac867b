"""CPU and memory of the model server's process and its children, from psutil.

The process is the one named, or whoever listens at the node's address, if that is of this host
and given as an IP address or ``localhost``. When it ends, the listener is looked for again.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil

from meshlb.checks import parse_address
from sidecar.probes import Node

PERIOD_S = 1.0
LOOK_AGAIN_S = 5.0
"""A process that cannot be found is looked for this often: going over all sockets is dear."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


class Probe:
    """One process tree's use."""

    def __init__(self, node: Node) -> None:
        self._address = node.address
        self._named = node.pid
        self._main: psutil.Process | None = None
        self._used: dict[int, float] = {}
        """CPU seconds by pid, at the last reading."""
        self._read_at = 0.0
        self._looked_at = -LOOK_AGAIN_S
        self._last: dict[str, Any] = {}

    async def read(self) -> dict[str, Any]:
        """Return process_cpu_cores and process_memory_bytes; nothing without a process."""
        now = time.monotonic()
        if now - self._read_at >= PERIOD_S:
            self._last = self._measure(now)
            self._read_at = now
        return self._last

    async def close(self) -> None:
        """Nothing runs."""

    def _measure(self, now: float) -> dict[str, Any]:
        if self._main is None or not _lives(self._main):
            self._used = {}
            self._main = self._find(now)
        if self._main is None:
            return {}
        memory, used = 0, {}
        with contextlib.suppress(psutil.Error):
            for process in (self._main, *self._main.children(recursive=True)):
                with contextlib.suppress(psutil.Error), process.oneshot():
                    times = process.cpu_times()
                    used[process.pid] = times.user + times.system
                    memory += process.memory_info().rss
        before, self._used = self._used, used
        if not used:
            return {}
        found: dict[str, Any] = {"process_memory_bytes": memory}
        spent = [used[pid] - before[pid] for pid in used.keys() & before.keys()]
        if spent and now > self._read_at:
            found["process_cpu_cores"] = max(0.0, sum(spent)) / (now - self._read_at)
        return found

    def _find(self, now: float) -> psutil.Process | None:
        """Return the process named, the first time; then whoever listens at the address."""
        pid, self._named = self._named, None
        if pid is None and now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            pid = _listener(self._address)
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
        except psutil.Error:
            return None
        return process if _lives(process) else None


def _lives(process: psutil.Process) -> bool:
    """Return whether it still runs; one that ended and waits for its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _listener(address: str) -> int | None:
    """Return the pid that listens at a local address; None if elsewhere, or not ours to see."""
    host, port = parse_address(address)
    addresses = {a.address for of in psutil.net_if_addrs().values() for a in of}
    if host not in _LOCAL and host not in addresses:
        return None
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            at = getattr(connection.laddr, "port", None)
            if connection.status == psutil.CONN_LISTEN and at == port:
                return connection.pid
    return None
