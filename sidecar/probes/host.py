"""CPU and memory of the host, from psutil; read once a second at the most."""

from __future__ import annotations

import time
from typing import Any

import psutil

from sidecar.probes import Node

PERIOD_S = 1.0


class Probe:
    """The whole machine's use."""

    def __init__(self, node: Node) -> None:
        del node
        psutil.cpu_percent()  # the first call only sets the start of what the next one measures
        self._read_at = time.monotonic()
        self._last: dict[str, Any] = {}

    async def read(self) -> dict[str, Any]:
        """Return host_cpu and host_memory, each in [0, 1]; nothing before the first second."""
        now = time.monotonic()
        if now - self._read_at >= PERIOD_S:
            self._last = {
                "host_cpu": min(1.0, psutil.cpu_percent() / 100),
                "host_memory": min(1.0, psutil.virtual_memory().percent / 100),
            }
            self._read_at = now
        return self._last

    async def close(self) -> None:
        """Nothing runs."""
