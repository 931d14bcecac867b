"""As few nodes as keep a quantile of latency within its objective, by prediction.

From the speed of the mean node and the calls a second: a node with slots is that many servers, all
nodes together one queue before them (Erlang C), as a balancer that knows the load comes close to.
They slow each other down, as measured. An engine that batches without slots queues nothing, but
slows with its occupancy. The count follows from the calls that come, not from how many nodes there
are, so it does not run away while nodes start. Calls that queue already are to be worked off within
``drain_s``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from meshlb.model import SpeedCurve
from meshlb.policy import queueing, scale_load
from meshlb.scale_model import LATENCIES, Inputs, Verb, Want

BATCHES_FROM = 2.0
"""A curve whose capacity x base is so many times its knee is that of an engine that batches."""

_QUANTILE = re.compile(r"p(\d\d(?:\.\d+)?)\Z")


@dataclass(frozen=True, slots=True)
class Params:
    """Objective, and what to know of the calls."""

    signal: str = "response_time"
    """Or "time_to_first_token"."""
    objective_s: float = 1.0
    """Seconds, above 0 to 3,600."""
    quantile: float | str = 0.95
    """Part of the calls that is to be within the objective, 0.5 to 0.999; or "p50" to "p99.9"."""
    scatter: float = 1.0
    """How much calls differ: coefficient of variation of their service times, 0 (all alike) to 1
    (exponential)."""
    drain_s: float = 30.0
    """Time in which queued calls are to be worked off, 1 to 3,600."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        wrong = scale_load.signal_faults(self.signal, LATENCIES)
        if not scale_load.is_number(self.objective_s, 1e-6, 3600):
            wrong.append(f"objective_s = {self.objective_s!r}: above 0, to 3,600")
        part = part_of(self.quantile)
        if part is None or not scale_load.is_number(part, 0.5, 0.999):
            wrong.append(f"quantile = {self.quantile!r}: 0.5 to 0.999, or p50 to p99.9")
        if not scale_load.is_number(self.scatter, 0, 1):
            wrong.append(f"scatter = {self.scatter!r}: 0 to 1")
        if not scale_load.is_number(self.drain_s, 1, 3600):
            wrong.append(f"drain_s = {self.drain_s!r}: 1 to 3,600")
        return wrong


def part_of(quantile: float | str) -> float | None:
    """Return a quantile as a part of 1; None if it is none."""
    if not isinstance(quantile, str):
        return quantile
    found = _QUANTILE.match(quantile)
    return None if found is None else float(found[1]) / 100.0


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return SET: the smallest count whose predicted quantile meets the objective."""
    rate = scale_load.load(inputs, "rate")
    if rate is None:
        return (scale_load.unknown(name, "rate"),)
    queued = scale_load.load(inputs, "queued") or 0.0
    demand = rate + queued / params.drain_s
    if demand <= 1e-9:
        return (Want(name, Verb.SET, 0, "no calls", utilization=0.0),)
    curve = inputs.curve
    if curve is None:
        return (Want(name, None, None, "no speed learned yet"),)
    predicted = _late_part(inputs, params, curve)
    if predicted is None:
        return (scale_load.unknown(name, params.signal),)
    late, alone_s = predicted
    part = part_of(params.quantile) or 0.95
    allowed = 1.0 - part + 1e-12
    objective = f"{100 * part:g} % within {params.objective_s:g} s"
    if late(1, 0.0) > allowed:
        why = f"{objective} cannot be met: an idle node takes {1000 * alone_s:.3g} ms on average"
        return (Want(name, None, None, why),)
    count = _smallest(lambda nodes: late(nodes, demand) <= allowed)
    kept = 100.0 * (1.0 - late(count, demand))
    reason = f"{demand:.3g} calls/s: {count} would keep {kept:.3g} %, wanted {objective}"
    used = None
    if count < inputs.previous:
        used = demand / _most(lambda r: late(inputs.previous, r) <= allowed, demand)
    return (
        Want(name, Verb.SET, count, reason, utilization=used),
        *scale_load.silent(inputs, "rate", name),
    )


Late = Callable[[int, float], float]
"""(nodes, calls a second) -> part of the calls beyond the objective."""


def _late_part(inputs: Inputs, params: Params, curve: SpeedCurve) -> tuple[Late, float] | None:
    """Return the prediction, and what a call takes alone; None if what it rests on is missing."""
    base_s, limit_s = curve.base_s, params.objective_s
    batched = base_s / curve.slope_s
    slots = inputs.slots if inputs.slots is not None else max(1.0, curve.knee)
    batches = inputs.slots is None and batched >= BATCHES_FROM * slots
    takes = _takes(inputs, base_s, slots)
    if params.signal == "response_time":
        if batches:
            return _batching(curve, limit_s, params.scatter), base_s
        return (
            lambda nodes, rate: queueing.response_tail(
                _servers(nodes, slots), rate, takes(nodes, rate), limit_s, params.scatter
            )
        ), takes(1, 0.0)
    seen = inputs.signals.get(params.signal)
    if seen is None or seen.stable is None:
        return None
    if batches:
        slots = batched
    # what a first token takes without waiting: what it takes now, less the wait predicted for now
    rate = scale_load.load(inputs, "rate") or 0.0
    ready = max(1, inputs.ready)
    servers, served_s = _servers(ready, slots), takes(ready, rate)
    load = rate * served_s
    waits_s = 0.0
    if load < servers:
        waits_s = queueing.wait_probability(servers, load) * served_s / (servers - load)
    left_s = limit_s - max(0.0, seen.stable - waits_s)
    if load >= servers:
        left_s = limit_s
    return (
        lambda nodes, rate: queueing.wait_tail(
            _servers(nodes, slots), rate, takes(nodes, rate), left_s
        )
    ), takes(1, 0.0)


def _takes(inputs: Inputs, base_s: float, slots: float) -> Callable[[int, float], float]:
    """Return the mean time that a call is served: of (nodes, calls a second).

    A curve learned of nodes with slots is taken to be flat below them. A server that batches is
    slower the fuller it is, so where the time served and the occupancy are measured, a call beside
    full slots is taken to run half as fast as alone. At the occupancy measured that is exact, for
    servers whose slots are apart as well; further up it errs to the safe side.
    """
    service_s, served = inputs.service_s, inputs.served
    if service_s is None or served is None:
        return lambda _nodes, _rate: base_s
    step_s = service_s / (slots + min(served, slots))

    def takes(nodes: int, rate: float) -> float:
        # occupancy n = rate x step x (slots + n), which is slots where rate x step is a half
        part = min(0.5, rate / nodes * step_s)
        return step_s * slots / (1.0 - part)

    return takes


def _batching(curve: SpeedCurve, limit_s: float, scatter: float) -> Late:
    def late(nodes: int, rate: float) -> float:
        each = rate / nodes
        if each * curve.slope_s >= 1.0:
            return 1.0
        # occupancy n = rate x latency(n), where latency rises with n
        takes_s = curve.base_s + curve.slope_s * max(0.0, 1.0 - curve.knee)
        if each * takes_s + 1.0 > curve.knee:
            steep_s = curve.base_s + curve.slope_s * (1.0 - curve.knee)
            takes_s = max(takes_s, steep_s / (1.0 - each * curve.slope_s))
        alike = 1.0 if takes_s > limit_s else 0.0
        return scatter * math.exp(-limit_s / takes_s) + (1.0 - scatter) * alike

    return late


def _servers(nodes: int, slots: float) -> int:
    return max(1, int(nodes * slots + 1e-9))


def _smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest count that is enough, up to the greatest that there can be."""
    most = 1
    while most < scale_load.MOST_NODES and not enough(most):
        most *= 2
    least, most = most // 2, min(most, scale_load.MOST_NODES)
    while most - least > 1:
        middle = (least + most) // 2
        if enough(middle):
            most = middle
        else:
            least = middle
    return most


def _most(good: Callable[[float], bool], start: float) -> float:
    """Return about the greatest rate that is good, knowing that ``start`` is."""
    least, most = start, start * 2.0
    for _ in range(20):
        if not good(most):
            break
        least, most = most, most * 2.0
    for _ in range(8):
        middle = (least + most) / 2.0
        if good(middle):
            least = middle
        else:
            most = middle
    return least
