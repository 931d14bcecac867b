"""Two nodes drawn, the one with less average response time x (in flight + 1) taken.

For nodes that differ in speed, with no controller near or none trusted: it needs only what the
client itself saw. The average is a peak EWMA: one slow answer replaces it at once, fast ones wear
it down, and so does time without answers, so that a node that was slow is tried again. An error
counts as a long response. A node not seen yet counts as the mean of the others: it is tried, and
not flooded. Source: Finagle's and Linkerd's peak EWMA.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad, NodeLoad


@dataclass(frozen=True, slots=True)
class Params:
    """How fast old answers are forgotten."""

    idle_tau_s: float = 10.0
    """Time constant by which an average without new answers falls."""


class _ResponseTime:
    __slots__ = ("_loads", "_random", "_tau_s")

    def __init__(self, nodes: Sequence[Candidate], rng: random.Random, tau_s: float) -> None:
        self._loads = [one.load for one in nodes]
        self._random = rng.random  # one C call, so safe from several threads
        self._tau_s = max(tau_s, 1e-3)

    def pick(self, now: float) -> int:
        loads = self._loads
        count = len(loads)
        if count == 1:
            return 0
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        if self._cost(loads[second], now) < self._cost(loads[first], now):
            return second
        return first

    def _cost(self, load: NodeLoad, now: float) -> float:
        response_s = load.response_s
        if response_s is None:
            known = [s for other in self._loads if (s := other.response_s) is not None]
            mean_s = sum(known) / len(known) if known else 1.0
            return mean_s * (load.in_flight + 1)
        idle_s = now - load.response_at
        if idle_s > 0.0:
            response_s *= math.exp(-idle_s / self._tau_s)
        return response_s * (load.in_flight + 1)


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,
) -> _ResponseTime:
    """Return a picker by response time."""
    return _ResponseTime(nodes, rng, params.idle_tau_s)
