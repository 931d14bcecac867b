"""How the load of the scaling act rises and falls, and when a node is killed: plain values.

One cycle goes up in steps, stays at the peak, and comes down in steps. A long act has several. The
policy's windows are a twentieth of a cycle: much shorter than in earnest, where a minute or five
is usual, so that a minute shows all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from examples.demo.workload import Arrival, Mix, poisson

STEPS = ((0.1, 0.06), (0.18, 0.5), (0.28, 1.0), (0.14, 0.5), (0.3, 0.06))
"""Of a cycle: (part of its time, part of the peak's rate)."""
CYCLE_S = 150.0
"""About so long is a cycle of a long act."""
SPEED, SLOTS = 2.0, 16
"""Of every node, times the reference."""
PEAK_NODES, MOST_NODES = 6, 8
UTILIZATION = 0.72
"""Part of their capacity that so many nodes are asked for at the peak."""
NODE_TARGET = 10
"""Calls in flight that the policy gives to a node."""
LEAST_CALM_S, MOST_CALM_S = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """A time of constant load; seconds from the start of the act."""

    since_s: float
    until_s: float
    rate: float
    """Calls a second."""
    peak: bool

    @property
    def middle_s(self) -> float:
        """Its middle."""
        return (self.since_s + self.until_s) / 2


@dataclass(frozen=True)
class Profile:
    """All steps of an act of ``seconds``."""

    seconds: float
    load_s: float
    """Calls begin until then; in the rest those that are open can end."""
    cycles: int
    steps: tuple[Step, ...]

    @property
    def calm_s(self) -> float:
        """The policy's stable window."""
        halves = round(self.load_s / self.cycles / 10)
        return min(MOST_CALM_S, max(LEAST_CALM_S, halves / 2))

    @property
    def peaks(self) -> tuple[Step, ...]:
        """The steps of full load."""
        return tuple(step for step in self.steps if step.peak)

    @property
    def turns(self) -> int:
        """Times that the load itself turns round: a target that follows it does as often."""
        return 2 * self.cycles - 1

    @property
    def peak_rate(self) -> float:
        """Calls a second at the peak."""
        return max(step.rate for step in self.steps)

    def rate(self, at_s: float) -> float:
        """Return the calls a second at an instant."""
        return next((step.rate for step in self.steps if step.since_s <= at_s < step.until_s), 0.0)

    def arrivals(self, seed: int, mix: Mix) -> Iterator[Arrival]:
        """Yield all calls in order; the same seed gives the same calls."""
        rng = random.Random(seed)
        for step in self.steps:
            for call in poisson(rng, step.rate, step.until_s - step.since_s, mix):
                yield replace(call, at_s=step.since_s + call.at_s)


def profile(seconds: float, mix: Mix) -> Profile:
    """Return the steps of an act of so many seconds."""
    load_s = seconds - max(min(0.5 * seconds, 9.0), min(0.15 * seconds, 15.0))
    cycles = max(1, round(load_s / CYCLE_S))
    peak = PEAK_NODES * UTILIZATION * SPEED / mix.seconds(SLOTS)
    steps = []
    at_s, cycle_s = 0.0, load_s / cycles
    for part, level in STEPS * cycles:
        until_s = at_s + part * cycle_s
        steps.append(Step(at_s, until_s, level * peak, level == 1.0))
        at_s = until_s
    return Profile(seconds, load_s, cycles, tuple(steps))
