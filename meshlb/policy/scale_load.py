"""What several rules need: a service's load by one signal, and the load that one node should have.

In ``Inputs`` a rule reads ``stable`` always: in panic it is shown the panic window there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from meshlb.model import SpeedCurve
from meshlb.scale_model import ADDITIVE, BOUNDED, SIGNALS, Inputs, Observed, Verb, Want

MOST_NODES = 10_000
"""No rule wants more: the greatest bound that a policy may have."""

MISSING_LIMIT = 0.1
"""More nodes silent than this part of them, and the load is not trusted to fall."""

AUTO = "auto"

LONG_CALLS_S = 30.0
"""Of calls served for longer the rate within a window tells too little."""

LEAST_OFFERED = 0.5
"""Part of the calls that are served which is load in any case, such as calls that hang."""

NO_LOAD = 0.01
"""Less is none: what servers see besides clients' counts fades out smoothly."""

WORDS = {
    "in_flight": "in flight",
    "queued": "queued",
    "tokens": "tokens outstanding",
    "rate": "calls/s",
    "cpu_cores": "cores in use",
    "kv_cache": "KV cache",
    "gpu_memory": "GPU memory",
    "response_time": "response time",
    "time_to_first_token": "time to first token",
}


def word(signal: str) -> str:
    """Return a signal's name for people."""
    return WORDS.get(signal, signal)


def whole(nodes: float) -> int:
    """Return the least whole number of nodes that is enough; rounding noise asks for none."""
    if not nodes < MOST_NODES:
        return MOST_NODES
    return max(0, math.ceil(nodes - 1e-9 * max(1.0, nodes)))


def amount(signal: str, value: float) -> str:
    """Return a signal's value with its unit, short."""
    if signal in BOUNDED:
        return f"{word(signal)} {100 * value:.3g} %"
    if signal in ADDITIVE:
        return f"{value:.3g} {word(signal)}"
    return f"{word(signal)} {1000 * value:.3g} ms"


def figure(signal: str, value: float) -> str:
    """Return a signal's value without its name."""
    return f"{100 * value:.3g} %" if signal in BOUNDED else f"{value:.3g}"


def load(inputs: Inputs, signal: str) -> float | None:
    """Return the service's load; for bounded signals in units of nodes. None: not known."""
    seen = inputs.signals.get(signal)
    if seen is None or seen.stable is None:
        return None
    if signal in BOUNDED and seen.measured > 0:  # nodes that never told it: like the mean
        return seen.stable * max(1.0, inputs.ready / (seen.measured + seen.missing))
    return seen.stable


def offered(inputs: Inputs, total: float, target: float, drain_s: float) -> tuple[float, str]:
    """Return calls in flight as the load that calls which come make: rate x time served (Little).

    With it, in words, where it comes from.

    What is in flight is that load, and what too little or too much capacity has made of it: calls
    that slow each other down, and a queue that grows for as long as nodes start. So the time is
    that at ``target`` calls a node, where a call is taken to run half as fast as alone: if it is
    not so, the count is right nonetheless once nodes have their target. A queue of Q counts by
    what it takes to work it off within ``drain_s``. Without a known rate, or for calls so long that
    few begin within a window, calls in flight are the load as they are.
    """
    rate, service_s, served = load(inputs, "rate"), inputs.service_s, inputs.served
    if rate is None or service_s is None or served is None or service_s > LONG_CALLS_S:
        return total, amount("in_flight", total)
    queued = min(total, load(inputs, "queued") or 0.0)
    at_target_s = service_s * 2.0 * target / (target + served)
    says = f"{rate:.3g} calls/s x {at_target_s:.3g} s"
    comes = rate * at_target_s
    if comes < LEAST_OFFERED * (total - queued):
        comes = LEAST_OFFERED * (total - queued)
        says = f"half of {total - queued:.3g} served"
    waits = queued * min(1.0, at_target_s / drain_s)
    if waits >= 0.5:
        says = f"({says} + {waits:.3g} for {queued:.3g} queued)"
    return comes + waits, says


def node_target(
    inputs: Inputs, signal: str, target: float | str, fill: float = 1.0
) -> float | None:
    """Return the load that one node should have; None: "auto", and nothing is known to go by.

    Auto is, in calls in flight, what keeps the node busy without a queue: its declared slots, else
    the learned curve's knee, or capacity x unloaded latency where it has none, at which latency
    has doubled. ``fill``: the part of these that is wanted.
    """
    if not isinstance(target, str):
        return float(target)
    calls = slots(inputs)
    if calls is not None:
        calls = max(1.0, fill * calls)
    if signal in ("in_flight", "queued"):
        return calls
    if signal == "rate" and inputs.curve is not None and calls is not None:
        return calls / max(inputs.curve.latency_s(calls - 1.0), 1e-9)
    if signal in BOUNDED:
        return 0.7
    return None


def slots(inputs: Inputs) -> float | None:
    """Return the calls that the mean node serves at once; None: neither declared nor learned."""
    if inputs.slots is not None:
        return max(1.0, inputs.slots)
    if inputs.curve is None:
        return None
    return capacity(inputs.curve)


def capacity(curve: SpeedCurve) -> float:
    """Return the calls in flight that keep a node busy; more add to the wait, not to the flow."""
    return max(1.0, curve.knee, curve.base_s / max(curve.slope_s, 1e-12))


def unknown(name: str, signal: str) -> Want:
    """Return the want of a rule whose signal is missing: it blocks scale-in."""
    return Want(name, None, None, f"{word(signal)} is not measured")


def unknown_target(name: str, signal: str) -> Want:
    """Return the want of a rule with target auto when nothing is learned or declared."""
    return Want(
        name, None, None, f"no slots declared and no speed learned: no target for {word(signal)}"
    )


def silent(inputs: Inputs, signal: str, name: str) -> tuple[Want, ...]:
    """Return a want that blocks scale-in if too many nodes are silent on the signal."""
    seen: Observed | None = inputs.signals.get(signal)
    if seen is None or seen.missing <= MISSING_LIMIT * (seen.measured + seen.missing):
        return ()
    nodes = seen.measured + seen.missing
    return (Want(name, None, None, f"{seen.missing} of {nodes} nodes do not tell {word(signal)}"),)


def utilization(inputs: Inputs, need: float) -> float | None:
    """Return the load with ``previous`` nodes, if it is ``need`` with one."""
    return need / inputs.previous if inputs.previous > 0 else None


def signal_faults(signal: object, allowed: Sequence[str] = SIGNALS) -> list[str]:
    """Return what is wrong with a signal's name."""
    if signal in allowed:
        return []
    return [f"signal = {signal!r}: one of {', '.join(allowed)}"]


def target_faults(signal: object, target: object) -> list[str]:
    """Return what is wrong with a target: a number above 0 (bounded signals: to 1), or auto."""
    if target == AUTO:
        if signal in BOUNDED or signal in ("in_flight", "rate"):
            return []
        return [f"target = 'auto': a number above 0 for {signal}"]
    most = 1.0 if signal in BOUNDED else 1e12
    if not is_number(target, 1e-9, most):
        return [f"target = {target!r}: above 0, to {most:g}, or 'auto'"]
    return []


def is_number(value: object, least: float, most: float, *, integer: bool = False) -> bool:
    """Return whether it is a finite number of that range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least <= value <= most and (not integer or float(value).is_integer())


def no_load(inputs: Inputs, total: float) -> bool:
    """Return whether nobody calls: no node is needed then, whatever one can do."""
    return inputs.waiting == 0 and total < NO_LOAD


def idle(inputs: Inputs, name: str, spare: float = 0.0) -> Want:
    """Return the want of a rule without load; a service that rests at none gets no spare node."""
    if inputs.previous == 0:
        return Want(name, Verb.SET, 0, "at rest, nobody calls")
    reason = "no load" + (f" + {spare:.2g} spare" if spare else "")
    return Want(name, Verb.SET, whole(spare), reason, utilization=0.0)
