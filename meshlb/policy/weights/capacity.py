"""Calls a second that the node serves at its present load: the default.

From the learned curve: up to the knee a node of capacity 1/slope has all of it to give; beyond, a
call waits, and what the node gives to each shrinks as its queue grows. Equal utilisation of all
nodes is where these weights rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.weights import Seen


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


def weight(seen: Seen, params: Params) -> float | None:  # noqa: ARG001
    """Return capacity x base / latency at the present load, in calls a second."""
    curve = seen.curve
    if curve is None:
        return None
    others = max(0.0, (seen.in_flight or 0.0) - 1.0)
    return curve.base_s / (curve.slope_s * curve.latency_s(others))
