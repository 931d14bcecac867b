"""Less for a node that fails a part of its calls, for any picker.

A call that fails at once is in flight for no time, so a failing node always looks idle, and
pickers that go by calls in flight or expected delay would send it more and more. So a pick that
falls on a node with failing part f is made again among the nodes in order, with the chance

    STEEP x (f - least f of all) / (1 - least f of all), at most MOST

Steep, since a node of whose calls three in ten fail at once looks so much emptier that pickers by
calls in flight would still send it more than its part. A fault that all nodes share changes
nothing. The part that still comes finds out when the node is well.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from meshlb.policy import zones
from meshlb.policy.load import Candidate, ClientLoad
from meshlb.policy.pickers import Build, Picker

WORSE_BY = 0.1
"""A node that fails so much more of its calls than the best one is not in order."""
STEEP, MOST = 3.0, 0.95


class _SoundFirst:
    __slots__ = ("_all", "_loads", "_random", "_sound")

    def __init__(
        self,
        every: Picker,
        sound: tuple[Picker, Sequence[int]],
        nodes: Sequence[Candidate],
        rng: random.Random,
    ) -> None:
        self._all = every
        self._sound = sound
        self._loads = [one.load for one in nodes]
        self._random = rng.random

    def pick(self, now: float) -> int:
        chosen = self._all.pick(now)
        failing = self._loads[chosen].failing
        if failing <= 0.0:
            return chosen
        picker, indices = self._sound
        least = min(self._loads[index].failing for index in indices)
        if self._random() < spared(failing, least):
            return indices[picker.pick(now)]
        return chosen


def spared(failing: float, least: float) -> float:
    """Return what part of its picks goes elsewhere; ``least``: failing part of the best node."""
    worse = (failing - least) / (1.0 - least) if least < 1.0 else 0.0
    return max(0.0, min(STEEP * worse, MOST))


def build(
    build: Build,
    nodes: Sequence[Candidate],
    client: ClientLoad,
    rng: random.Random,
    params: Any,
    zone: str,
) -> Picker:
    """Return a picker over ``nodes``, in zones, that spares those that fail more than the best."""
    every = zones.build(build, nodes, client, rng, params, zone)
    least = min(one.load.failing for one in nodes)
    sound = [i for i, one in enumerate(nodes) if one.load.failing < least + WORSE_BY]
    if len(sound) == len(nodes):
        return every
    among = zones.build(build, [nodes[i] for i in sound], client, rng, params, zone)
    return _SoundFirst(every, (among, sound), nodes, rng)
