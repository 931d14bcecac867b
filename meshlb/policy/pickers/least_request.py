"""The node with the fewest own calls in flight, of all; ties broken at random.

For one client, or few, that make most of the calls, on nodes of equal speed: then own counts are
the truth. Many clients do not see each other, and a slow node gets as much in flight as a fast one.
Looks at every node, so a pick takes time in proportion to their number; see ``p2c`` for thousands.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


class _LeastRequest:
    __slots__ = ("_loads", "_random")

    def __init__(self, nodes: Sequence[Candidate], rng: random.Random) -> None:
        self._loads = [one.load for one in nodes]
        self._random = rng.random  # one C call, so safe from several threads

    def pick(self, now: float) -> int:  # noqa: ARG002
        counts = [load.in_flight for load in self._loads]
        least = min(counts)
        ties = counts.count(least)
        if ties == 1:
            return counts.index(least)
        skip = int(self._random() * ties)
        found = counts.index(least)
        for _ in range(skip):
            found = counts.index(least, found + 1)
        return found


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,  # noqa: ARG001
) -> _LeastRequest:
    """Return a picker that looks at all nodes."""
    return _LeastRequest(nodes, rng)
