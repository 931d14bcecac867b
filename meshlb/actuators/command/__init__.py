"""Any program of the user's: it is told what is wanted, and tells what there is.

``PROGRAM ... observe`` gets ``{"service": ...}`` on stdin and prints ``{"replicas": [{"replica_id",
"node_id", "state", "since"?, "reason"?}, ...]}``. ``PROGRAM ... apply`` gets ``{"service",
"target", "start", "stop": [replica ids], "withdrawn": [...], "decision_id", "reason"}``; what it
prints is not read. Each runs alone, for ``limit_s`` at the most. See ``docs/actuators.md``.
"""

from __future__ import annotations

from meshlb.actuators import Actuator, Context
from meshlb.actuators.command.actuator import CommandActuator
from meshlb.actuators.command.ending import stop_all
from meshlb.actuators.command.params import Params
from meshlb.errors import InvalidInputError

__all__ = ["Params", "build", "stop_all"]


def build(service: str, params: Params, context: Context) -> Actuator:
    """Return the actuator of one service; InvalidInputError for wrong parameters."""
    if faults := params.faults():
        raise InvalidInputError(faults, reason="INVALID_CONFIG")
    return CommandActuator(service, params, context)
