"""Four nodes drawn by capacity, the one with the shortest expected delay taken, or by a toss.

The default. Expected delay: the node's speed curve at the occupancy believed there, which is the
client's own count scaled up by its share where it has many calls in flight, the controller's count
where it has few (see ``policy.load``). Counts that all clients share make them move as one, the
more the older the counts are; so a difference in delay decides for sure only if it exceeds the
counts' age, and below that in proportion: P(first) = 1/2 + (delay_2 - delay_1) / (2 age). The drawn
ones meet one after the other. On own counts alone the shorter delay always wins. Works without
curves, slots, share or counts, each of which makes it better. Source: shortest expected delay,
power of d choices (Mitzenmacher), interpreting stale load (Dahlin); figures in docs/algorithms.md.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from meshlb.policy.delay import curves
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad


@dataclass(frozen=True, slots=True)
class Params:
    """How much to doubt, and to explore."""

    trust_own_at: float = 8.0
    """Own calls in flight from which a small client goes by its own counts alone."""
    choices: int = 4
    """Nodes drawn; at least 1."""
    doubt: float = 2.0
    """Width of the toss, in ages of the controller's counts; 0: the shorter delay always wins."""
    caution: float = 0.3
    """Part of a node's unloaded latency added to its delay: what takes long also scatters more, so
    this trades a little of the mean for the tail; 0: the mean alone counts."""
    crowding: float = 0.05
    """Part of a node's unloaded latency that every call in flight adds, also below its knee: of
    nodes alike the emptiest is taken, and engines that batch slow down with each call."""
    explore: float = 0.005
    """Part of calls that go to any node alike, so that one that recovered is found out."""
    capacity_floor: float = 0.1
    """Least chance to be drawn, as a part of an average node's."""


class _ExpectedDelay:
    __slots__ = (
        "_base_s", "_client", "_cumulative", "_doubt", "_draws", "_explore", "_last", "_nodes",
        "_random", "_total", "_trust_own_at",
    )  # fmt: skip

    def __init__(
        self, nodes: Sequence[Candidate], client: ClientLoad, rng: random.Random, params: Params
    ) -> None:
        by_node = curves([one.node for one in nodes])
        capacities = [1.0 / curve.slope_s for curve in by_node]
        least = params.capacity_floor * sum(capacities) / len(capacities)
        drawn = [max(capacity, least) for capacity in capacities]
        self._nodes: list[tuple[NodeLoad, float, float, float, float]] = [
            (
                one.load,
                curve.base_s * (1.0 + params.caution),
                curve.base_s * params.crowding,
                curve.slope_s,
                1.0 - curve.knee,
            )
            for one, curve in zip(nodes, by_node, strict=True)
        ]
        self._client = client
        self._cumulative = list(accumulate(drawn))
        self._total = self._cumulative[-1]
        self._base_s = (
            sum(curve.base_s * part for curve, part in zip(by_node, drawn, strict=True))
            / self._total
        )
        """Latency of an idle node, mean by capacity: the time in which counts grow stale."""
        self._doubt = params.doubt
        self._draws = range(max(1, int(params.choices)))
        self._explore = params.explore
        self._last = len(nodes) - 1
        self._random = rng.random  # one C call, so safe from several threads
        self._trust_own_at = params.trust_own_at

    def pick(self, now: float) -> int:  # noqa: ARG002
        draw = self._random
        last = self._last
        toss = draw()
        if toss < self._explore:
            return int(toss / self._explore * (last + 1))
        client = self._client
        share = client.share
        age_s = client.count_age_s
        if share is None:
            # Without a share all counts are compared as they are.
            share = trust = 1.0
            width_s = 0.0
            if age_s is not None:
                trust = 0.0
                width_s = self._doubt * age_s
        elif age_s is None or share >= 1.0:
            trust = 1.0
            width_s = 0.0
        else:
            # Own counts scaled up scatter with (1 - share) / share; the controller's grow stale
            # with age.
            trust = (
                client.in_flight
                * (1.0 + 0.2 * age_s / self._base_s)
                / (self._trust_own_at * (1.0 - share))
            )
            if trust >= 1.0:
                trust = 1.0
                width_s = 0.0
            else:
                width_s = self._doubt * (1.0 - trust) * age_s
        nodes = self._nodes
        cumulative = self._cumulative
        total = self._total
        best = -1
        best_s = 0.0
        for _ in self._draws:
            drawn = bisect_right(cumulative, draw() * total, 0, last)
            if drawn == best:
                continue
            load, delay_s, crowding_s, slope_s, offset = nodes[drawn]
            own = load.in_flight
            found = own * trust / share
            if trust < 1.0:
                others = load.others
                found += (1.0 - trust) * (own if others is None else own + others)
            delay_s += crowding_s * found
            beyond = found + offset
            if beyond > 0.0:
                delay_s += slope_s * beyond
            if best < 0 or best_s - delay_s > (width_s and (draw() - 0.5) * width_s):
                best = drawn
                best_s = delay_s
        return best


def build(
    nodes: Sequence[Candidate], client: ClientLoad, rng: random.Random, params: Params
) -> _ExpectedDelay:
    """Return a picker by expected delay."""
    return _ExpectedDelay(nodes, client, rng, params)
