"""Calls a second that the node can serve, less where calls already queue: the default.

1/slope of the learned curve is what the node can serve. Calls beyond its knee wait; as many of
them as it works off in one service time halve the weight. Where all nodes are used alike, and none
queues more than the others, these weights rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.weights import Seen


@dataclass(frozen=True, slots=True)
class Params:
    """How fast a queue takes weight away."""

    least_queue: float = 4.0
    """Calls beyond the knee that halve the weight, at the least: a short base is badly known."""


def weight(seen: Seen, params: Params) -> float | None:
    """Return capacity in calls a second, divided by 1 + queue / (calls worked off in one base)."""
    curve = seen.curve
    if curve is None:
        return None
    queue = max(0.0, (seen.in_flight or 0.0) - curve.knee)
    halves_at = max(params.least_queue, curve.base_s / curve.slope_s)
    return 1.0 / (curve.slope_s * (1.0 + queue / halves_at))
