"""Starts the act's controller and callers; the nodes are the controller's to start."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import Any

from examples.demo.options import Options
from examples.demo.processes import Child, Children
from examples.demo.scaling import config
from examples.demo.scaling.config import SERVICE
from examples.demo.scaling.keeper import STATE
from examples.demo.scaling.profile import Profile
from examples.demo.state import MESHLB
from examples.demo.workload import Arrival
from meshlb import os_process
from meshlb.actuators.process.entry import Entry
from meshlb.controller import state_file

STOP_S = 300.0
"""Long enough on any machine: a keeper that is killed leaves its nodes behind."""


class Fleet:
    """All processes of one act, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # None of them is tied to the demo by the kernel: they end with their stdin.
        self._children = Children(folder, tied=False)
        self._keeper: Child | None = None
        self.callers: list[Child] = []
        self.controller = ""

    async def start(self, options: Options, profile: Profile) -> None:
        """Start the controller, which starts the first node, and callers that wait for a plan."""
        path = self._folder / "meshlb.toml"
        path.write_text(config.text(profile.calm_s, self._folder), encoding="utf-8")
        command = ["-m", "examples.demo.scaling.keeper", str(self._folder)]
        command += ["--listen", "127.0.0.1:0", "--config", str(path)]
        keeper = self._keeper = await self._children.start("controller", command, talks=True)
        for i in range(options.clients):
            caller = ("-m", "examples.demo.caller")
            self.callers.append(await self._children.start(f"caller-{i + 1}", caller, talks=True))
        self.controller = await keeper.address()

    async def plan(self, options: Options, arrivals: Sequence[Arrival]) -> None:
        """Give the callers their calls, and wait until each is connected."""
        for i, caller in enumerate(self.callers):
            await caller.tell(
                {
                    "balancer": MESHLB,
                    "target": f"mesh://{self.controller}/{SERVICE}",
                    "picker": options.picker,
                    "until_s": options.seconds,
                    "arrivals": [
                        (a.at_s, a.prompt_tokens, a.answer_tokens)
                        for a in arrivals[i :: len(self.callers)]
                    ],
                }
            )
        for caller in self.callers:
            if await caller.hear() is None:
                await caller.process.wait()
                raise caller.ended()

    def check(self) -> None:
        """Raise UnavailableError if the controller has ended."""
        if self._keeper is not None and not self._keeper.alive:
            raise self._keeper.ended()

    def kill(self, replica_id: str) -> bool:
        """Kill a node's server as a crash would; whether it was there."""
        found = state_file.ledgers(self._folder / STATE).get((SERVICE, "process"), {})
        if replica_id not in found:
            return False
        name = Entry.from_json(replica_id, json.loads(found[replica_id])).server.name
        return name is not None and os_process.send(name, SIGKILL)

    async def stop(self) -> None:
        """End the controller and all that it has started, then the callers.

        Raises UnavailableError if something could not be ended.
        """
        try:
            if self._keeper is not None:
                await self._keeper.let_go(STOP_S)
                if self._keeper.process.returncode != 0:
                    raise self._keeper.ended()
        finally:
            await self._children.stop()


async def surely(course: Coroutine[Any, Any, None]) -> None:
    """Run to the end, whoever presses Ctrl-C again meanwhile."""
    task = asyncio.ensure_future(course)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()
