"""The actuator: runs the program, and believes what it says."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlb.actuators import Capabilities, Context, Order
from meshlb.actuators.command.answer import replicas_of
from meshlb.actuators.command.params import Params
from meshlb.actuators.command.run import run
from meshlb.errors import MeshlbError
from meshlb.scale_model import Replica

LEDGER_KEY = "program"
"""The ledger's one entry: the program, which knows its replicas itself."""


class CommandActuator:
    """Runs the program; what it says of replicas is believed for ``observe_s``."""

    def __init__(self, service: str, params: Params, context: Context) -> None:
        self.capabilities = Capabilities(starts=True, chooses_victim=params.chooses_victim)
        self._service = service
        self._params = params
        self._ledger = context.ledger
        self._named = False
        """Whether the ledger names the program."""
        self._seen: Sequence[Replica] = ()
        self._seen_at = -math.inf
        self._problem: MeshlbError | None = None
        self._done: Order | None = None
        """Carried out since the last look; the same again changes nothing."""
        self._closed = threading.Event()

    async def start(self) -> None:
        """Nothing is found again here: the program knows what runs."""

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
        if order.target and not self._named:
            await asyncio.to_thread(self._ledger.put, LEDGER_KEY, self._entry())
            self._named = True
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

    def _entry(self) -> Mapping[str, Any]:
        """Return what whoever stops all without a controller must know; no values of ``env``."""
        params = self._params
        return {
            "service": self._service,
            "command": list(params.command),
            "limit_s": params.limit_s,
            "cwd": str(Path(params.cwd).resolve()),
            "env": sorted(params.env),
        }

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
