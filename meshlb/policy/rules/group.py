"""So many nodes that each has its wanted load: C = ceil(P / T).

P is the sum of an additive signal over the service, or a bounded one summed over the nodes, T what
one node should have. The sum form needs no current count, so nodes that start change nothing; the
ratio form ceil(current x mean / T) runs away meanwhile. In this form the known worked case (three
nodes at CPU 60 %, threshold 80 %) needs no change: ceil(180 / 80) = 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy import scale_load
from meshlb.scale_model import ADDITIVE, BOUNDED, Inputs, Verb, Want


@dataclass(frozen=True, slots=True)
class Params:
    """Signal, and the load that one node should have."""

    signal: str = "in_flight"
    target: float | str = "auto"
    """In the signal's unit (bounded ones: a part, 0.8 is 80 %); "auto": declared slots, else the
    learned curve."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        wrong = scale_load.signal_faults(self.signal, (*ADDITIVE, *BOUNDED))
        return wrong or scale_load.target_faults(self.signal, self.target)


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return SET ceil(P / T)."""
    signal = params.signal
    total = scale_load.load(inputs, signal)
    if total is None:
        return (scale_load.unknown(name, signal),)
    silent = scale_load.silent(inputs, signal, name)
    if scale_load.no_load(inputs, total):
        return (scale_load.idle(inputs, name), *silent)
    target = scale_load.node_target(inputs, signal, params.target)
    if target is None:
        return (scale_load.unknown_target(name, signal),)
    need = total / target
    reason = f"{scale_load.amount(signal, total)} / {scale_load.figure(signal, target)} a node"
    return (
        Want(
            name,
            Verb.SET,
            scale_load.whole(need),
            reason,
            utilization=scale_load.utilization(inputs, need),
        ),
        *silent,
    )
