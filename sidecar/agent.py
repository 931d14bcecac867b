"""Reads the probes, and keeps a report stream to each controller: what runs beside a server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence

import structlog

from meshlb import plugins, wire
from meshlb.model import Health, NodeInfo
from sidecar import signals
from sidecar.probes import Node, Probe
from sidecar.report_stream import ReportStream

PROBES = "sidecar.probes"
IDLE_INTERVAL_S = 1.0
"""Between readings while no controller is there to order anything."""
READ_LIMIT_S = 0.5
FIRST_LOOK_S, LOOK_AGAIN_S = 2.0, 0.02
"""How long the first report waits for the first health check, so that no node joins unchecked."""
GOODBYE_LIMIT_S = 2.0
log = structlog.get_logger()


class Agent:
    """One node's sidecar, in one event loop."""

    def __init__(
        self, node: NodeInfo, controllers: Sequence[str], pid: int | None, drain_on_exit: bool
    ) -> None:
        """``pid`` is the server's process, None to look for it by its port."""
        self._info = node
        self._drain = drain_on_exit
        self._node = Node(node.address, pid, IDLE_INTERVAL_S)
        self._probes: dict[str, Probe] = {}
        self._failed: dict[str, str] = {}
        for name in plugins.names(PROBES):
            try:
                self._probes[name] = plugins.load(PROBES, name).Probe(self._node)
            except Exception as error:
                log.warning("probe_failed", probe=name, problem=repr(error))
        self._report = signals.merged(node, {}, time.time())[0]
        self._ordered = asyncio.Event()
        rng = random.Random()
        self._streams = [
            ReportStream(c, lambda: self._report, self._ordered.set, rng)
            for c in dict.fromkeys(controllers)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Report until ``stop`` is set; then say goodbye to all controllers that hear it."""
        await self._first_look(stop)
        probing = asyncio.create_task(self._read_on())
        streams = [asyncio.create_task(stream.run()) for stream in self._streams]
        await stop.wait()
        for stream in self._streams:
            stream.say_goodbye(self._drain)
        _, late = await asyncio.wait(streams, timeout=GOODBYE_LIMIT_S)
        for task in (probing, *late):
            task.cancel()
        await asyncio.gather(probing, *streams, return_exceptions=True)
        for name, probe in self._probes.items():
            try:
                await probe.close()
            except Exception as error:
                log.warning("probe_not_closed", probe=name, problem=repr(error))
        log.info("sidecar_stopped", node=self._info.node_id, drain=self._drain)

    async def _first_look(self, stop: asyncio.Event) -> None:
        give_up = time.monotonic() + FIRST_LOOK_S
        while not stop.is_set() and time.monotonic() < give_up:
            if await self._read() is not Health.UNCHECKED:
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _read_on(self) -> None:
        """Read all probes once per shortest interval that a controller has ordered."""
        while True:
            await self._read()
            ordered = [s.interval_s for s in self._streams if s.interval_s is not None]
            self._node.interval_s = min(ordered, default=IDLE_INTERVAL_S)
            self._ordered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._node.interval_s):
                    await self._ordered.wait()

    async def _read(self) -> Health:
        """Read all probes into the report that all streams send; return the health found."""
        found, problems = {}, {}
        for name, probe in self._probes.items():
            try:
                async with asyncio.timeout(READ_LIMIT_S):
                    found[name] = await probe.read()
            except Exception as error:
                problems[name] = repr(error)
        self._report, wrong = signals.merged(self._info, found, time.time())
        problems |= wrong
        for name in problems.keys() - self._failed.keys():
            log.warning("probe_failed", probe=name, problem=problems[name])
        for name in self._failed.keys() - problems.keys():
            log.info("probe_recovered", probe=name)
        self._failed = problems
        return wire.HEALTHS_BACK[self._report.health]
