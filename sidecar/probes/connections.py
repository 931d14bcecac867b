"""Connections to the node's port on this machine, the sidecar's own not counted; from psutil.

Read only while the node drains: a server that does not tell its calls in flight is idle for sure
when nobody is connected to it. Going over all sockets is dear, so it is done seldom, and by a task
of its own: on a busy machine it takes longer than a reading may.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import psutil

from meshlb.checks import parse_address
from sidecar.probes import Node

PERIOD_S = 0.5


class Probe:
    """Counts who is connected."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """Return connections; nothing unless the node drains and its port is of this machine."""
        task = self._task
        if not self._node.draining:
            await self.close()
        elif task is None:
            self._task = asyncio.create_task(self._count_on())
        elif task.done():
            self._task = None
            self._last = {}
            task.result()
        return self._last

    async def close(self) -> None:
        """Stop counting."""
        task, self._task = self._task, None
        self._last = {}
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _count_on(self) -> None:
        _, port = parse_address(self._node.address)
        while True:
            count = await asyncio.to_thread(connections, port)
            self._last = {} if count is None else {"connections": count}
            await asyncio.sleep(PERIOD_S)


def connections(port: int) -> int | None:
    """Return how many others are connected to a port; None if nobody listens there that we see."""
    listens = False
    ours, theirs = set(), []
    for one in psutil.net_connections("tcp"):
        here, there = _end(one.laddr), _end(one.raddr)
        if here[1] == port and one.status == psutil.CONN_LISTEN:
            listens = True
        elif one.status == psutil.CONN_ESTABLISHED:
            if here[1] == port:
                theirs.append(there)
            elif there[1] == port and one.pid == os.getpid():
                ours.add(here)
    return sum(1 for there in theirs if there not in ours) if listens else None


def _end(address: Any) -> tuple[str, int]:
    """Return host and port of one end, alike for both kinds of sockets; none: there is no end."""
    return (address.ip.removeprefix("::ffff:"), address.port) if address else ("", 0)
