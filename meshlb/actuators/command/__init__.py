"""Any program of the user's: it is told what is wanted, and tells what there is.

``PROGRAM ... observe`` gets ``{"service": ...}`` on stdin and prints ``{"replicas": [{"replica_id",
"node_id", "state", "since"?, "reason"?}, ...]}``. ``PROGRAM ... apply`` gets ``{"service",
"target", "start", "stop": [replica ids], "withdrawn": [...], "decision_id", "reason"}``; what it
prints is not read. Each runs alone, for ``limit_s`` at the most. See ``docs/actuators.md``.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshlb.actuators import Actuator, Capabilities, Context, Order
from meshlb.actuators.command.answer import is_text, replicas_of
from meshlb.actuators.command.run import run
from meshlb.errors import InvalidInputError, MeshlbError
from meshlb.scale_model import Replica

__all__ = ["Params", "build"]


@dataclass(frozen=True)
class Params:
    """``[service.NAME.actuator]`` with ``kind = "command"``. Times are seconds."""

    command: Sequence[str] = ()
    """Program and arguments; required. The verb, "observe" or "apply", is put behind them."""
    limit_s: float = 30.0
    """A run that takes longer is killed with all that it started; 0.1 to 3600."""
    observe_s: float = 5.0
    """Shortest time between two runs of "observe"; the last answer stands meanwhile. 0 to 3600."""
    chooses_victim: bool = True
    """It stops the very replicas that it is told to."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    cwd: str = ""
    """Folder to run in; empty: the controller's."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        found = []
        command, env = self.command, self.env
        if isinstance(command, str) or not all(is_text(word) for word in command):
            found.append(f"command = {command!r}: a list of texts, the program first")
        elif not command or not command[0]:
            found.append(f"command = {list(command)!r}: a list of texts, the program first")
        if not isinstance(env, Mapping) or not all(map(is_text, [*env, *env.values()])):
            found.append(f"env = {env!r}: a table of texts")
        for name, least in (("limit_s", 0.1), ("observe_s", 0.0)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not least <= value <= 3600:
                found.append(f"{name} = {value!r}: from {least:g} to 3600")
        if not isinstance(self.chooses_victim, bool):
            found.append(f"chooses_victim = {self.chooses_victim!r}: true or false")
        if not is_text(self.cwd):
            found.append(f"cwd = {self.cwd!r}: a folder")
        return found


def build(service: str, params: Params, context: Context) -> Actuator:  # noqa: ARG001
    """Return the actuator of one service; InvalidInputError for wrong parameters."""
    if faults := params.faults():
        raise InvalidInputError(faults, reason="INVALID_CONFIG")
    return CommandActuator(service, params)


class CommandActuator:
    """Runs the program; what it says of replicas is believed for ``observe_s``."""

    def __init__(self, service: str, params: Params) -> None:
        self.capabilities = Capabilities(starts=True, chooses_victim=params.chooses_victim)
        self._service = service
        self._params = params
        self._seen: Sequence[Replica] = ()
        self._seen_at = -math.inf
        self._problem: MeshlbError | None = None
        self._done: Order | None = None
        """Carried out since the last look; the same again changes nothing."""
        self._closed = threading.Event()

    async def start(self) -> None:
        """Nothing is kept here: the program knows what runs."""

    async def observe(self) -> Sequence[Replica]:
        """Return what the program says.

        Raises UnavailableError if it fails or hangs, InvalidInputError for rubbish.
        """
        if time.monotonic() - self._seen_at >= self._params.observe_s:
            try:
                answer = await self._run("observe", {"service": self._service})
                self._seen = replicas_of(answer, self._seen, time.time())
                self._problem = None
            except MeshlbError as error:
                self._problem = error
            self._seen_at = time.monotonic()
            self._done = None
        if self._problem is not None:
            raise self._problem
        return self._seen

    async def apply(self, order: Order) -> None:
        """Tell the program. Raises UnavailableError if it fails or hangs."""
        if order == self._done:
            return
        wanted = {
            "service": order.service,
            "target": order.target,
            "start": order.start,
            "stop": list(order.stop),
            "withdrawn": list(order.withdrawn),
            "decision_id": order.decision_id,
            "reason": order.reason,
        }
        self._seen_at = -math.inf
        await self._run("apply", wanted)
        self._done = order

    async def resize(
        self,
        replica_id: str,  # noqa: ARG002
        slots: int | None,  # noqa: ARG002
        cpu_cores: float | None,  # noqa: ARG002
        memory_bytes: int | None,  # noqa: ARG002
    ) -> bool:
        """Return False: the program is not asked for that."""
        return False

    async def close(self) -> None:
        """Let go; a run of the program is ended."""
        self._closed.set()

    async def _run(self, verb: str, told: Mapping[str, Any]) -> bytes:
        params, stop = self._params, threading.Event()
        try:
            return await asyncio.to_thread(
                run,
                [*params.command, verb],
                json.dumps(told),
                params.limit_s,
                params.env,
                params.cwd or None,
                (stop, self._closed),
            )
        finally:
            stop.set()
