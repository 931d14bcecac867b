"""Shares in proportion to the controller's weights, as evenly spread as can be: R_i = w_i / sum(w).

For clients with many short calls and a controller whose weights are good; between two tables it
reacts to nothing. Goes round the nodes; in each round a node is passed over or taken so that after
g rounds it was taken g x w_i / max(w) times, give or take one. The state is one counter, so several
threads may pick at once. A weight that is no positive finite number counts as the mean of the
others. Source: gRPC's static stride scheduler (gRFC A58), itself a smooth weighted round robin.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.load import Candidate, ClientLoad

ROUNDS = 4096
"""Rounds of a cycle, after which each share has been met exactly."""


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


class _DynamicWeight:
    __slots__ = ("_count", "_next", "_steps")

    def __init__(self, steps: Sequence[int], first: int) -> None:
        self._steps = steps
        self._count = len(steps)
        self._next = itertools.count(first).__next__  # atomic in CPython, so needs no lock

    def pick(self, now: float) -> int:  # noqa: ARG002
        while True:
            # The node of the greatest weight is taken in each round, so this ends.
            turn, index = divmod(self._next(), self._count)
            step = self._steps[index]
            if (turn * step + index * (ROUNDS // 2 + 1)) % ROUNDS >= ROUNDS - step:
                return index


def steps(weights: Sequence[float]) -> list[int]:
    """Return each weight in parts of ``ROUNDS`` of the greatest; at least one part."""
    sound = [w for w in weights if 0.0 < w < math.inf]
    mean = sum(sound) / len(sound) if sound else 1.0
    top = max(sound, default=1.0)
    known = (w if 0.0 < w < math.inf else mean for w in weights)
    return [max(1, round(w / top * ROUNDS)) for w in known]


def build(
    nodes: Sequence[Candidate],
    client: ClientLoad,  # noqa: ARG001
    rng: random.Random,
    params: Params,  # noqa: ARG001
) -> _DynamicWeight:
    """Return a picker that goes by weight, from a random turn."""
    by_node = steps([one.node.weight for one in nodes])
    return _DynamicWeight(by_node, rng.randrange(ROUNDS * len(by_node)))
