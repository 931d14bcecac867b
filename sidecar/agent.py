"""Reads the probes, and keeps a report stream to each controller: what runs beside a server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import Sequence

import structlog

from meshlb import plugins, wire
from meshlb.model import Health, NodeInfo
from meshlb.security.client_tls import Tls
from sidecar import signals
from sidecar.probes import Node, Probe
from sidecar.report_stream import ReportStream
from sidecar.slots import Slots

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
        self,
        node: NodeInfo,
        controllers: Sequence[str],
        pid: int | None,
        drain_on_exit: bool,
        join_when_serving: bool = False,
        tls: Tls | None = None,
        token_file: str = "",
        node_tls: Tls | None = None,
    ) -> None:
        """``pid`` is the server's process, None to look for it by its port.

        ``tls`` and ``token_file`` are for the controllers, ``node_tls`` for the server; None:
        plain text.
        """
        self._info = node
        self._drain = drain_on_exit
        self._node = Node(
            node.address,
            pid,
            IDLE_INTERVAL_S,
            starting=join_when_serving,
            authority=node.authority,
            tls=node_tls,
        )
        self._probes: dict[str, Probe] = {}
        self._failed: dict[str, str] = {}
        for name in plugins.names(PROBES):
            try:
                self._probes[name] = plugins.load(PROBES, name).Probe(self._node)
            except Exception as error:
                log.warning("probe_failed", probe=name, problem=repr(error))
        self._report = signals.merged(node, {}, time.time())[0]
        self._ordered = asyncio.Event()
        self._slots = Slots(self._node)
        rng = random.Random()
        self._streams = [
            ReportStream(c, lambda: self._report, self._ordered.set, rng, tls, token_file)
            for c in dict.fromkeys(controllers)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Report until ``stop`` is set; then say goodbye to all controllers that hear it."""
        joins = await self._first_look(stop)
        probing = asyncio.create_task(self._read_on())
        streams = [asyncio.create_task(stream.run()) for stream in self._streams if joins]
        await stop.wait()
        for stream in self._streams:
            stream.say_goodbye(self._drain)
        late = (await asyncio.wait(streams, timeout=GOODBYE_LIMIT_S))[1] if joins else set()
        for task in (probing, *late):
            task.cancel()
        await asyncio.gather(probing, *streams, return_exceptions=True)
        for name, probe in self._probes.items():
            try:
                await probe.close()
            except Exception as error:
                log.warning("probe_not_closed", probe=name, problem=repr(error))
        log.info("sidecar_stopped", node=self._info.node_id, drain=self._drain)

    async def _first_look(self, stop: asyncio.Event) -> bool:
        """Wait for the first check, or where a start is waited for, until the server serves.

        Return whether to report at all: a node that never served was never there.
        """
        give_up = time.monotonic() + FIRST_LOOK_S
        while not stop.is_set() and (self._node.starting or time.monotonic() < give_up):
            health = await self._read()
            if health is Health.SERVING or not (self._node.starting or health is Health.UNCHECKED):
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        joins = not (self._node.starting and stop.is_set())
        self._node.starting = False
        return joins

    async def _read_on(self) -> None:
        """Read all probes once per shortest interval that a controller has ordered."""
        while True:
            await self._follow_orders()
            await self._read()
            ordered = [s.interval_s for s in self._streams if s.interval_s is not None]
            self._node.interval_s = min(ordered, default=IDLE_INTERVAL_S)
            self._ordered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._node.interval_s):
                    await self._ordered.wait()

    async def _follow_orders(self) -> None:
        self._node.draining = any(stream.draining for stream in self._streams)
        ordered = [s.slots for s in self._streams if s.slots is not None]
        await self._slots.bring(ordered[0] if ordered else None)

    async def _read(self) -> Health:
        """Read all probes into the report that all streams send; return the health found."""
        found, problems = {}, {}
        for name, probe in self._probes.items():
            try:
                async with asyncio.timeout(READ_LIMIT_S):
                    found[name] = await probe.read()
            except Exception as error:
                problems[name] = repr(error)
        info = self._info
        if self._slots.applied is not None:
            info = dataclasses.replace(info, slots=self._slots.applied)
        self._report, wrong = signals.merged(info, found, time.time())
        problems |= wrong
        for name in problems.keys() - self._failed.keys():
            log.warning("probe_failed", probe=name, problem=problems[name])
        for name in self._failed.keys() - problems.keys():
            log.info("probe_recovered", probe=name)
        self._failed = problems
        return wire.HEALTHS_BACK[self._report.health]
