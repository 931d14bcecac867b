"""What the ledger says of a program, so that ``meshlb down`` can have it stop all that it started.

Values of its environment are not written down, since some are secrets: only their names are.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from meshlb.actuators import Context, Ledger, Order
from meshlb.actuators.command.actuator import CommandActuator
from meshlb.actuators.command.params import Params
from meshlb.errors import InvalidInputError, UnavailableError
from meshlb.scale_model import ReplicaState

LIMIT_S, LOOK_S = 60.0, 1.0
"""How long what the program was told to stop may still be there, and between two looks."""


async def stop_all(ledger: Ledger, say: Callable[[str], None]) -> None:
    """Tell the program that no replica is wanted, and wait until it lists none.

    Raises UnavailableError if it cannot be run as it was, fails, or still lists some.
    """
    for key, raw in ledger.entries().items():
        service, params = _read(key, raw)
        actuator = CommandActuator(service, params, Context("", ledger))
        try:
            await _stop(service, actuator, say)
        finally:
            await actuator.close()
        ledger.remove(key)


async def _stop(service: str, actuator: CommandActuator, say: Callable[[str], None]) -> None:
    left = there = await _running(actuator)
    await actuator.apply(Order(service, 0, 0, sorted(there), 0, "meshlb down"))
    give_up = time.monotonic() + LIMIT_S
    while left := left & await _running(actuator):
        if time.monotonic() >= give_up:
            raise UnavailableError(
                f"{service}: {', '.join(sorted(left))}: still listed by its program {LIMIT_S:g} s "
                "after it was told to stop them",
                reason="CANNOT_STOP",
            )
        await asyncio.sleep(LOOK_S)
    for replica_id in sorted(there):
        say(f"{service} {replica_id}: stopped by its program")


async def _running(actuator: CommandActuator) -> set[str]:
    replicas = await actuator.observe()
    return {one.replica_id for one in replicas if one.state is not ReplicaState.LOST}


def _read(key: str, raw: Mapping[str, Any]) -> tuple[str, Params]:
    try:
        service, names = str(raw["service"]), list(map(str, raw["env"]))
        params = Params(
            command=[str(word) for word in raw["command"]],
            limit_s=float(raw["limit_s"]),
            observe_s=0.0,
            cwd=str(raw["cwd"]),
        )
        faults = params.faults()
    except (KeyError, TypeError, ValueError) as error:
        faults = [repr(error)]
    if faults:
        raise InvalidInputError(
            f"ledger entry {key!r} = {dict(raw)!r:.300}: what this actuator wrote "
            f"({'; '.join(faults)})",
            reason="DAMAGED_STATE",
        )
    if missing := sorted(name for name in names if name not in os.environ):
        raise UnavailableError(
            f"{service}: its program wants {', '.join(missing)} in its environment, as [service."
            f"{service}.actuator.env] has it: set that here and try again",
            reason="CANNOT_STOP",
        )
    return service, params
