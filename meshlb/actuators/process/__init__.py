"""Model servers and their sidecars as processes of this machine: what runs without a cluster.

Each replica is a server on a free port and a sidecar, each in a session of its own, so that they
outlive a killed controller and go on serving; the next one adopts them. Intent, node id and a
random token are in the ledger before a start, pid and start time after it; the token is also in
the child's environment. So a start whose controller was killed half way is found again, and a pid
that is somebody else's by now is never signalled. See ``docs/actuators.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshlb.actuators import Actuator, Context, Ledger
from meshlb.actuators.process import ending
from meshlb.actuators.process.actuator import ProcessActuator
from meshlb.actuators.process.entry import Entry
from meshlb.actuators.process.params import Params
from meshlb.errors import InvalidInputError, UnavailableError

__all__ = ["Params", "build", "stop_all"]


def build(service: str, params: Params, context: Context) -> Actuator:
    """Return the actuator of one service; InvalidInputError for wrong parameters."""
    if faults := params.faults():
        raise InvalidInputError(faults, reason="INVALID_CONFIG")
    params.tls()  # files that cannot be used are told now
    return ProcessActuator(service, params, context)


async def stop_all(ledger: Ledger, say: Callable[[str], None]) -> None:
    """Stop all that a ledger names; UnavailableError at the end if something is left."""
    entries, damaged = [], []
    for replica_id, raw in (await asyncio.to_thread(ledger.entries)).items():
        try:
            entries.append(Entry.from_json(replica_id, raw))
        except InvalidInputError as error:
            damaged.append(str(error))
            say(f"{replica_id}: not stopped: {error}")
    await ending.stop_all(entries, ledger.remove, say)
    if damaged:
        raise UnavailableError("; ".join(damaged), reason="CANNOT_STOP")
