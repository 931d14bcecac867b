"""Guards: above the high mark more nodes, between the marks none less, below the low one it may.

For signals that saturate or that no formula ties to a count: CPU, memory, GPU, response time. They
cannot say how much is missing, so each step waits until the last one shows: what starts already
counts as capacity, over which the load would spread (latencies: no further step while one starts).
Both windows must be above the mark, since the stable one stays there long after relief came.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy import scale_load
from meshlb.scale_model import BOUNDED, LATENCIES, Inputs, Observed, Verb, Want


@dataclass(frozen=True, slots=True)
class Params:
    """Signal, its marks, and the step; marks are a node's mean, in the signal's unit."""

    signal: str = "cpu"
    high: float = 0.8
    """Parts for bounded signals (0.8 is 80 %), seconds for latencies."""
    low: float | None = None
    """None: the high mark, so that all below permits scale-in."""
    step: int = 1
    """Nodes more at a time, 1 to 1,000."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        wrong = scale_load.signal_faults(self.signal)
        most = 1.0 if self.signal in BOUNDED else 1e12
        high = scale_load.is_number(self.high, 1e-9, most)
        if not high:
            wrong.append(f"high = {self.high!r}: above 0, to {most:g} for {self.signal}")
        if self.low is not None and not scale_load.is_number(
            self.low, 0, self.high if high else most
        ):
            wrong.append(f"low = {self.low!r}: 0 to high ({self.high!r})")
        if not scale_load.is_number(self.step, 1, 1000, integer=True):
            wrong.append(f"step = {self.step!r}: a whole number from 1 to 1,000")
        return wrong


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return AT_LEAST: current + step above, the count so far between, 0 below."""
    signal = params.signal
    seen = inputs.signals.get(signal)
    if seen is None or seen.mean is None or seen.stable is None:
        if signal in LATENCIES and _no_calls(inputs):
            return (Want(name, Verb.AT_LEAST, 0, "no calls", utilization=0.0),)
        return (scale_load.unknown(name, signal),)
    mean, previous = seen.mean, inputs.previous
    used = mean / params.high
    is_ = scale_load.amount(signal, mean)
    high = scale_load.figure(signal, params.high)
    if mean > params.high:
        want = _above(inputs, params, name, seen, f"{is_}, above {high}")
    elif mean >= (params.high if params.low is None else params.low):
        low = "" if params.low is None else f"{scale_load.figure(signal, params.low)} and "
        want = Want(name, Verb.AT_LEAST, previous, f"{is_}, between {low}{high}", used)
    else:
        low = high if params.low is None else scale_load.figure(signal, params.low)
        want = Want(name, Verb.AT_LEAST, 0, f"{is_}, below {low}", used)
    return (want, *scale_load.silent(inputs, signal, name))


def _above(inputs: Inputs, params: Params, name: str, seen: Observed, is_: str) -> Want:
    used = (seen.mean or 0.0) / params.high
    current, previous = inputs.ready + inputs.starting, inputs.previous
    lately = _lately(params, seen)
    relief = ""
    if lately is not None and lately <= params.high:
        relief = f"{is_}, but no more in the last seconds"
    elif inputs.starting > 0:
        latency = params.signal in LATENCIES
        if latency or (lately or seen.mean or 0.0) * inputs.ready / current <= params.high:
            relief = f"{is_}; {inputs.starting} more start already"
    if relief:
        return Want(name, Verb.AT_LEAST, previous, relief, used)
    count = min(scale_load.MOST_NODES, max(previous, current + int(params.step)))
    return Want(name, Verb.AT_LEAST, count, is_, used)


def _lately(params: Params, seen: Observed) -> float | None:
    """Return a node's mean in the last seconds: the lower of the panic window and the last one.

    The last one shows at once that a node more takes its part; single latencies tell too little.
    """
    found = []
    if seen.panic is not None and seen.stable and seen.mean is not None:
        found.append(seen.mean * seen.panic / seen.stable)
    if seen.last is not None and params.signal not in LATENCIES and seen.measured > 0:
        found.append(seen.last / (seen.measured + seen.missing))
    return min(found, default=None)


def _no_calls(inputs: Inputs) -> bool:
    calls = scale_load.load(inputs, "in_flight")
    return calls is not None and calls < 0.01 and inputs.waiting == 0
