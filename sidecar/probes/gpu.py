"""Use and memory of the host's GPUs through NVML (extra ``meshlb[gpu]``); nothing without one."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from sidecar.probes import Node

PERIOD_S = 1.0


class Probe:
    """Mean compute use of all GPUs, and memory used of all there is."""

    def __init__(self, node: Node) -> None:
        del node
        self._devices: list[Any] = []
        self._read_at = 0.0
        self._last: dict[str, Any] = {}
        try:
            import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except pynvml.NVMLError:
            self._devices = []  # no driver: as good as no GPU

    async def read(self) -> dict[str, Any]:
        """Return gpu and gpu_memory, each in [0, 1]; nothing where there is no GPU."""
        now = time.monotonic()
        if self._devices and now - self._read_at >= PERIOD_S:
            self._last = self._measure()
            self._read_at = now
        return self._last

    def _measure(self) -> dict[str, Any]:
        use = []
        for device in self._devices:
            # A GPU that is split into instances has no use of the whole.
            with contextlib.suppress(self._nvml.NVMLError_NotSupported):
                use.append(self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        memory = [self._nvml.nvmlDeviceGetMemoryInfo(device) for device in self._devices]
        total = sum(m.total for m in memory)
        found = {}
        if use:
            found["gpu"] = sum(use) / len(use)
        if total > 0:
            found["gpu_memory"] = sum(m.used for m in memory) / total
        return found

    async def close(self) -> None:
        """Let go of NVML."""
        if self._devices:
            self._nvml.nvmlShutdown()
