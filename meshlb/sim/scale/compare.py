"""One trace, several autoscalers, the oracle and a static fleet: everything else the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from meshlb import plugins
from meshlb.scale_model import ScalePolicy
from meshlb.sim.scale import bounds
from meshlb.sim.scale.outcome import Outcome
from meshlb.sim.scale.own import Own
from meshlb.sim.scale.run import World, simulate

RIVALS = "meshlb.sim.rivals"
FIRST_S = 60
FIRST_UTILIZATION = 0.65

Progress = Callable[[str, float], None]
"""(what is simulated, part of it that is done)."""


def settled(world: World, initial: int | None = None) -> World:
    """Return the world with so many replicas at its start.

    None: as the busiest minute needs of those in which no autoscaler can have done anything yet,
    since it has to see a minute first, and to start a replica. A trace is cut out of a day.
    """
    if initial is not None:
        return dataclasses.replace(world, initial=initial)
    busy = bounds.demand(world.requests, world.engine, FIRST_S)
    first = max(busy[FIRST_S // 2 : math.ceil(FIRST_S + world.start_up_s)] or busy[-1:])
    return dataclasses.replace(world, initial=max(1, math.ceil(first / FIRST_UTILIZATION)))


def rival(name: str, world: World, load: float | None = None) -> Outcome:
    """Run a rival at its defaults, or with that many calls in flight wanted of a replica.

    Raises InvalidInputError, naming the known ones, for one that is not known.
    """
    module = plugins.load(RIVALS, name)
    params = module.Params() if load is None else module.Params(load=load)
    return simulate(world, module.build(params, world.engine.slots))


def compare(
    world: World, policy: ScalePolicy, rivals: Sequence[str], progress: Progress | None = None
) -> dict[str, Outcome]:
    """Return what came of each, by name: meshlb, the rivals, oracle, static."""

    def part(name: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda done: progress(name, done)

    slots = world.engine.slots
    found = {"meshlb": simulate(world, Own(policy, slots), part("meshlb"))}
    for name in rivals:
        module = plugins.load(RIVALS, name)
        found[name] = simulate(world, module.build(module.Params(), slots), part(name))
    found["oracle"], peak = bounds.best(world, progress=part("oracle"))
    found["static"] = bounds.static(world, peak, part("static"))
    return found
