"""What the load will be one start-up time from now: at least ceil(F / T).

The forecast itself is an input, computed beside the loop by a kept library. It only ever raises: a
wrong one costs nodes, never calls. Without one the rule says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy import scale_load
from meshlb.scale_model import ADDITIVE, Inputs, Verb, Want

LEAST = 0.05
"""A forecast of less than this part of one node's load is none: it keeps no service awake."""


@dataclass(frozen=True, slots=True)
class Params:
    """Signal, and the load that one node should have."""

    signal: str = "in_flight"
    target: float | str = "auto"
    """In the signal's unit; "auto": declared slots, else the learned curve."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        wrong = scale_load.signal_faults(self.signal, ADDITIVE)
        return wrong or scale_load.target_faults(self.signal, self.target)


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return AT_LEAST ceil(F / T); nothing without a forecast."""
    signal = params.signal
    forecast = inputs.forecast.get(signal)
    if forecast is None:
        return ()
    target = scale_load.node_target(inputs, signal, params.target)
    if target is None:
        return (scale_load.unknown_target(name, signal),)
    need = max(0.0, forecast / target)
    ahead = "" if inputs.start_up_s is None else f" in {inputs.start_up_s:.0f} s"
    reason = (
        f"{scale_load.amount(signal, forecast)} forecast{ahead}"
        f" / {scale_load.figure(signal, target)} a node"
    )
    count = scale_load.whole(need) if need >= LEAST else 0
    return (Want(name, Verb.AT_LEAST, count, reason, scale_load.utilization(inputs, need)),)
