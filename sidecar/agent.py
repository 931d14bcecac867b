"""Reads the probes, and keeps a report stream to each controller: what runs beside a server."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Sequence
from typing import Any

import structlog

from meshlb import plugins
from meshlb.model import LoadReport, NodeInfo
from sidecar.probes import Node, Probe
from sidecar.report_stream import FIRST_INTERVAL_S, ReportStream

PROBES = "sidecar.probes"
GOODBYE_LIMIT_S = 2.0
log = structlog.get_logger()


class Agent:
    """One node's sidecar, in one event loop."""

    def __init__(
        self, node: NodeInfo, controllers: Sequence[str], pid: int | None, drain_on_exit: bool
    ) -> None:
        self._info = node
        self._drain = drain_on_exit
        self._node = Node(node.address, pid, FIRST_INTERVAL_S)
        self._probes: dict[str, Probe] = {
            name: plugins.load(PROBES, name).Probe(self._node) for name in plugins.names(PROBES)
        }
        self._failed: set[str] = set()
        self._signals: dict[str, Any] = {}
        rng = random.Random()
        self._streams = [ReportStream(c, self.report, rng) for c in controllers]

    def report(self) -> LoadReport:
        """Return the node's state, as the probes last gave it."""
        return LoadReport(node=self._info, observe_time_s=time.time(), **self._signals)

    async def run(self, stop: asyncio.Event) -> None:
        """Report until ``stop`` is set; then say goodbye to all controllers that hear it."""
        probing = asyncio.create_task(self._probe())
        streams = [asyncio.create_task(stream.run()) for stream in self._streams]
        await stop.wait()
        for stream in self._streams:
            stream.say_goodbye(self._drain)
        _, late = await asyncio.wait(streams, timeout=GOODBYE_LIMIT_S)
        for task in (probing, *late):
            task.cancel()
        await asyncio.gather(probing, *streams, return_exceptions=True)
        for probe in self._probes.values():
            await probe.close()
        log.info("sidecar_stopped", node=self._info.node_id, drain=self._drain)

    async def _probe(self) -> None:
        """Read all probes once per shortest interval that a controller has ordered."""
        known = {f.name for f in dataclasses.fields(LoadReport)}
        while True:
            self._node.interval_s = min(stream.interval_s for stream in self._streams)
            signals: dict[str, Any] = {}
            for name, probe in self._probes.items():
                try:
                    found = await probe.read()
                except Exception as error:
                    if name not in self._failed:
                        self._failed.add(name)
                        log.warning("probe_failed", probe=name, error=repr(error))
                    continue
                self._failed.discard(name)
                signals.update({k: v for k, v in found.items() if k in known})
            self._signals = signals
            await asyncio.sleep(self._node.interval_s)
