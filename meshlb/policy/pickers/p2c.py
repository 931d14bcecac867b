"""Two different nodes drawn with equal chance, the one with fewer own calls in flight taken.

For large fleets of equal nodes: nearly as good as looking at all, at a constant price, and clients
that start together do not fall upon the same node. Source: Mitzenmacher 2001; Envoy's
``LEAST_REQUEST`` and Finagle do this by default.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


class _TwoChoices:
    __slots__ = ("_loads", "_random")

    def __init__(self, nodes: Sequence[Candidate], rng: random.Random) -> None:
        self._loads = [one.load for one in nodes]
        self._random = rng.random  # one C call, so safe from several threads

    def pick(self, now: float) -> int:  # noqa: ARG002
        loads = self._loads
        count = len(loads)
        if count == 1:
            return 0
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        return second if loads[second].in_flight < loads[first].in_flight else first


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,  # noqa: ARG001
) -> _TwoChoices:
    """Return a picker by two choices."""
    return _TwoChoices(nodes, rng)
