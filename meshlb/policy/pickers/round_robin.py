"""Each node in turn, R_i = 1/n.

For equal nodes and equal calls. Starts at a random node, so that many clients that start together
do not move in step. The baseline, and what gRPC's own ``round_robin`` does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


class _RoundRobin:
    __slots__ = ("_count", "_next")

    def __init__(self, count: int, first: int) -> None:
        self._count = count
        self._next = itertools.count(first).__next__  # atomic in CPython, so needs no lock

    def pick(self, now: float) -> int:  # noqa: ARG002
        return self._next() % self._count


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,  # noqa: ARG001
) -> _RoundRobin:
    """Return a picker that goes round."""
    return _RoundRobin(len(nodes), rng.randrange(len(nodes)))
