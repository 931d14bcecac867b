"""What autoscalers are held against: a static fleet, and an oracle that knows the future.

The oracle knows the work of every request, and keeps so many replicas ready at every instant that
the mean work within ``window_s`` around it fills them to ``utilization`` at the most. It must order
a replica one start-up time before it is needed, and pays from then on. For a gap between two needs
that is shorter than a start it keeps the replica. No autoscaler can do with less, at that
utilization, except by letting calls wait longer.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Sequence

from meshlb.sim.scale.autoscaler import Seen
from meshlb.sim.scale.engine import EngineParams
from meshlb.sim.scale.fleet import Grace
from meshlb.sim.scale.outcome import Outcome
from meshlb.sim.scale.run import World, simulate
from meshlb.sim.scale.trace import Request


def demand(requests: Sequence[Request], engine: EngineParams, window_s: int) -> list[float]:
    """Return the busy servers that arriving work needs, each second: mean over a window around."""
    length = int(requests[-1].arrival_s) + 1
    work = [0.0] * length
    for one in requests:
        work[int(one.arrival_s)] += engine.work_s(one.prompt_tokens, one.tokens)
    total = [0.0]
    for busy in work:
        total.append(total[-1] + busy)
    before = window_s // 2
    found = []
    for at in range(length):
        first, last = max(0, at - before), min(length, at - before + window_s)
        found.append((total[last] - total[first]) / (last - first))
    return found


def ahead(need: Sequence[int], start_up_s: float) -> list[int]:
    """Return the replicas to be billed each second: the greatest need within a start-up time."""
    span = math.ceil(start_up_s)
    most: deque[int] = deque()
    billed = [0] * len(need)
    for at in range(len(need) - 1, -1, -1):
        while most and need[most[-1]] <= need[at]:
            most.pop()
        most.append(at)
        while most[0] > at + span:
            most.popleft()
        billed[at] = need[most[0]]
    return billed


class Static:
    """Always the same."""

    interval_s = 60.0
    grace = Grace()

    def __init__(self, count: int, name: str = "static") -> None:
        self.name = name
        self.count = count

    def start(self, ready: int) -> None:
        """Nothing to do."""

    def target(self, seen: Seen, now: float) -> int:  # noqa: ARG002
        """Return the count."""
        return self.count


class Oracle:
    """Knows the future; see above."""

    interval_s = 1.0
    grace = Grace()

    def __init__(self, billed: Sequence[int], name: str = "oracle") -> None:
        self.name = name
        self.billed = billed

    def start(self, ready: int) -> None:
        """Nothing to do."""

    def target(self, seen: Seen, now: float) -> int:  # noqa: ARG002
        """Return what is to be billed now."""
        return self.billed[min(int(now), len(self.billed) - 1)]


def plan(world: World, utilization: float, window_s: int) -> list[int]:
    """Return the oracle's replicas each second."""
    need = [max(1, math.ceil(busy / utilization - 1e-9)) for busy in
            demand(world.requests, world.engine, window_s)]  # fmt: skip
    return ahead(need, world.start_up_s)


def static(world: World, count: int, progress: Callable[[float], None] | None = None) -> Outcome:
    """Return what comes of a fleet of that size."""
    return simulate(dataclasses.replace(world, initial=count), Static(count), progress)


WINDOWS_S = (10, 60)
LEAST, MOST, STEPS = 0.3, 1.4, 6


def best(
    world: World,
    attainment: float = 0.99,
    progress: Callable[[float], None] | None = None,
) -> tuple[Outcome, int]:
    """Return the cheapest oracle of that attainment, and the replicas that its peak needs.

    The utilization is found by halving, once a window; the cheaper one counts. If even the least
    utilization does not reach the attainment, that one counts.
    """
    found: tuple[Outcome, int] | None = None
    spare: tuple[Outcome, int] | None = None
    done = 0
    for window_s in WINDOWS_S:
        low, high = LEAST, MOST
        for _ in range(STEPS):
            middle = (low + high) / 2
            billed = plan(world, middle, window_s)
            outcome = simulate(dataclasses.replace(world, initial=billed[0]), Oracle(billed))
            done += 1
            if progress is not None:
                progress(done / (STEPS * len(WINDOWS_S)))
            if outcome.attainment >= attainment:
                low = middle
                if found is None or outcome.node_seconds < found[0].node_seconds:
                    found = outcome, max(billed)
            else:
                high = middle
            if spare is None or outcome.attainment > spare[0].attainment:
                spare = outcome, max(billed)
    assert spare is not None
    return found or spare
