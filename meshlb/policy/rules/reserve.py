"""The load, and spare nodes for what may come: C = ceil(P / T + k).

P in calls in flight is rate x time served where both are known (Little's law): calls in flight
themselves rise faster than the load where nodes are short, and pile up while nodes start.

k is a number of nodes, or "auto": the greatest of

- scatter: square-root staffing (Halfin and Whitt, 1981): R busy servers need beta x sqrt(R) more so
  that few calls wait. A server is a slot, not a node: with T slots a node that is
  beta x sqrt(P) / T nodes, so that large fleets need little and small ones much. Calls that come in
  bursts scatter more than single ones: R counts times the peakedness that is measured, variance by
  mean of the calls in flight (Hayward's approximation).
- surge: what may come until a node ordered now can serve, if neither trend nor forecast tells.
  Load is taken to wander like a count of callers that keep one node busy each, of which R are
  there: up to R + z x sqrt(R) + z^2 / 4. Nodes may be full then. It rules where few nodes are
  busy and starts are long, and is nothing beside scatter for large fleets.
- growth: what the load will rise by until a node ordered now can serve, by a forecast, else by the
  trend of the stable window where that stands out from the noise.

A service that rests at none gets no reserve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshlb.policy import scale_load
from meshlb.scale_model import ADDITIVE, BOUNDED, Inputs, Verb, Want

MOST_RISE = 0.3
"""A trend adds this part of the load at the most: now and then scatter looks like one."""

RIDDEN_OUT_S = 20.0
"""Half of a surge is held for starts of this length: calls can wait for so long."""

MOST_PEAKED = 64.0
"""Variance by mean of calls in flight beyond it is no burst of calls, but a trend or a backlog."""


@dataclass(frozen=True, slots=True)
class Params:
    """Signal, load of one node, and reserve."""

    signal: str = "in_flight"
    target: float | str = "auto"
    """In the signal's unit (bounded ones: a part, 0.8 is 80 %); "auto": declared slots, else the
    learned curve."""
    fill: float = 0.55
    """Of target "auto": the part of a node's slots that is to be busy, above 0 to 1. An engine that
    batches slows all calls down as its slots fill; 1 suits servers whose slots are apart."""
    k: float | str = "auto"
    """Spare nodes, 0 to 10,000; fractions count."""
    beta: float = 1.0
    """Scatter: of calls about 50 % wait at 0.5, 22 % at 1, 8 % at 1.5, 3 % at 2."""
    horizon_s: float = 60.0
    """A trend is believed so far ahead at the most, however long a start takes."""
    surge: float = 2.0
    """Standard deviations of the load that full nodes are to hold while a node starts, 0 to 10."""
    drain_s: float = 60.0
    """Calls in line are to be worked off within it, 1 to 3,600."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        wrong = scale_load.signal_faults(self.signal, (*ADDITIVE, *BOUNDED))
        wrong += [] if wrong else scale_load.target_faults(self.signal, self.target)
        if self.k != scale_load.AUTO and not scale_load.is_number(self.k, 0, scale_load.MOST_NODES):
            wrong.append(f"k = {self.k!r}: 0 to {scale_load.MOST_NODES:,}, or 'auto'")
        if not scale_load.is_number(self.beta, 0, 10):
            wrong.append(f"beta = {self.beta!r}: 0 to 10")
        if not scale_load.is_number(self.surge, 0, 10):
            wrong.append(f"surge = {self.surge!r}: 0 to 10")
        if not scale_load.is_number(self.fill, 1e-3, 1):
            wrong.append(f"fill = {self.fill!r}: above 0, to 1")
        if not scale_load.is_number(self.drain_s, 1, 3600):
            wrong.append(f"drain_s = {self.drain_s!r}: 1 to 3,600")
        if not scale_load.is_number(self.horizon_s, 0, 86400):
            wrong.append(f"horizon_s = {self.horizon_s!r}: 0 to 86,400")
        return wrong


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return SET ceil(P / T + k)."""
    signal = params.signal
    total = scale_load.load(inputs, signal)
    if total is None:
        return (scale_load.unknown(name, signal),)
    silent = scale_load.silent(inputs, signal, name)
    if scale_load.no_load(inputs, total) and not inputs.forecast.get(signal):
        spare = 0.0 if isinstance(params.k, str) else float(params.k)
        return (scale_load.idle(inputs, name, spare), *silent)
    target = scale_load.node_target(inputs, signal, params.target, params.fill)
    if target is None:
        return (scale_load.unknown_target(name, signal),)
    says = scale_load.amount(signal, total)
    if signal == "in_flight":
        total, says = scale_load.offered(inputs, total, target, params.drain_s)
    need = total / target
    spare, why = (
        _auto(inputs, params, total, target)
        if isinstance(params.k, str)
        else (float(params.k), "spare")
    )
    reason = f"{says} / {scale_load.figure(signal, target)} a node + {spare:.2g} {why}"
    return (
        Want(
            name,
            Verb.SET,
            scale_load.whole(need + spare),
            reason,
            utilization=scale_load.utilization(inputs, need),
        ),
        *silent,
    )


def _auto(inputs: Inputs, params: Params, total: float, target: float) -> tuple[float, str]:
    """Return the spare nodes, and what for."""
    servers = target if params.signal == "in_flight" else scale_load.slots(inputs) or 1.0
    busy = max(0.0, total / target) * servers
    scatter = params.beta * math.sqrt(busy * _peakedness(inputs, params.signal)) / servers
    growth, why = _growth(inputs, params, total)
    surge = _surge(inputs, params, target) - total / target
    return max(
        (scatter, "spare for scatter"),
        (growth / target, why),
        (surge, f"spare for a surge within {inputs.start_up_s or 0.0:.0f} s"),
        key=lambda one: one[0],
    )


def _peakedness(inputs: Inputs, signal: str) -> float:
    """Return how much more the calls scatter than single ones that know nothing of each other."""
    seen, spread = inputs.signals.get(signal), inputs.variance.get(signal)
    if signal != "in_flight" or seen is None or not seen.stable or spread is None:
        return 1.0
    return min(MOST_PEAKED, max(1.0, spread / seen.stable))


def _surge(inputs: Inputs, params: Params, target: float) -> float:
    """Return the nodes that a surge fills until a node ordered now can serve; 0: not known."""
    total, start_up_s = scale_load.load(inputs, params.signal), inputs.start_up_s
    if total is None or start_up_s is None or start_up_s <= 0.0:
        return 0.0
    if params.signal == "in_flight":
        slots = scale_load.slots(inputs)
        if slots is None:
            return 0.0
        full = max(slots, target)
        total = scale_load.offered(inputs, total, full, params.drain_s)[0] / full
    elif params.signal not in BOUNDED:
        return 0.0
    part = start_up_s / (start_up_s + RIDDEN_OUT_S)
    z = params.surge
    return total + z * math.sqrt(part * total) + 0.25 * part * z * z


def _growth(inputs: Inputs, params: Params, total: float) -> tuple[float, str]:
    """Return the rise of the load until a node ordered now can serve, in the signal's unit."""
    forecast = inputs.forecast.get(params.signal)
    if forecast is not None:
        return max(0.0, forecast - total), "for the forecast rise"
    slope = inputs.growth.get(params.signal)
    if slope is None or inputs.start_up_s is None or slope <= 0:
        return 0.0, ""
    ahead_s = min(inputs.start_up_s, params.horizon_s)
    return min(slope * ahead_s, MOST_RISE * total), f"for the rise of {ahead_s:.0f} s"
