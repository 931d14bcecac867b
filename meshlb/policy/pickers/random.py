"""Any node with equal chance, R_i = 1/n in the mean.

For many clients with few calls each, where keeping step would be worse than chance; and as the
baseline that a cleverer picker has to beat. Weights, counts and speeds play no part.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


class _Random:
    __slots__ = ("_count", "_random")

    def __init__(self, count: int, rng: random.Random) -> None:
        self._count = count
        self._random = rng.random  # one C call, so safe from several threads

    def pick(self, now: float) -> int:  # noqa: ARG002
        return int(self._random() * self._count)


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,  # noqa: ARG001
) -> _Random:
    """Return a picker that throws dice."""
    return _Random(len(nodes), rng)
