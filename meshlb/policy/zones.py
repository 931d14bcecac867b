"""Own zone first, spilling by expected delay, for any picker.

The picker is built twice, over the nodes of the client's zone and over all others. Its choice at
home is taken unless its choice abroad promises to be faster by a clear factor, which stands for
the way there and for the price of traffic between zones. As in ``expected_delay`` a difference
that is small beside the age of the counts is a toss, so that clients do not spill all at once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from meshlb.policy.delay import curves
from meshlb.policy.load import Candidate, ClientLoad, occupancy
from meshlb.policy.pickers import Build, Picker

SPILL_AT = 1.5
"""A node of another zone must promise a delay smaller by this factor."""


class _OwnZoneFirst:
    __slots__ = ("_abroad", "_client", "_home", "_random")

    def __init__(
        self,
        home: tuple[Picker, Sequence[int]],
        abroad: tuple[Picker, Sequence[int]],
        nodes: Sequence[Candidate],
        client: ClientLoad,
        rng: random.Random,
    ) -> None:
        by_node = curves([one.node for one in nodes])
        self._home, self._abroad = (
            (picker, [(index, nodes[index].load, by_node[index]) for index in indices])
            for picker, indices in (home, abroad)
        )
        self._client = client
        self._random = rng.random

    def pick(self, now: float) -> int:
        client = self._client
        picker, nodes = self._home
        near, load, curve = nodes[picker.pick(now)]
        found = occupancy(load, client)
        delay_s = curve.latency_s(found)
        picker, nodes = self._abroad
        far, load, curve = nodes[picker.pick(now)]
        gain_s = delay_s - SPILL_AT * curve.latency_s(occupancy(load, client))
        age_s = client.count_age_s
        if age_s is not None:
            gain_s -= self._random() * age_s  # at least as fast for sure, or it is no spill
        return far if gain_s > 0.0 else near


def build(
    build: Build,
    nodes: Sequence[Candidate],
    client: ClientLoad,
    rng: random.Random,
    params: Any,
    zone: str,
) -> Picker:
    """Return a picker over ``nodes`` that prefers those in ``zone``; empty: no preference."""
    home = [index for index, one in enumerate(nodes) if zone and one.node.zone == zone]
    if not home or len(home) == len(nodes):
        return build(nodes, client, rng, params)
    abroad = [index for index, one in enumerate(nodes) if one.node.zone != zone]
    return _OwnZoneFirst(
        (build([nodes[index] for index in home], client, rng, params), home),
        (build([nodes[index] for index in abroad], client, rng, params), abroad),
        nodes,
        client,
        rng,
    )
