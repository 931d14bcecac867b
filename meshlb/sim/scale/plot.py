"""A picture of a comparison: demand and replicas, calls in flight, attainment."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from meshlb.errors import InvalidInputError, MissingExtraError
from meshlb.sim.scale import bounds
from meshlb.sim.scale.outcome import Outcome
from meshlb.sim.scale.run import World

DEMAND_S = 10


def check() -> None:
    """Raise MissingExtraError without matplotlib: told before a long run, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--plot needs matplotlib: pip install 'meshlb[plot]'")


def draw(path: str | Path, world: World, outcomes: Mapping[str, Outcome]) -> None:
    """Write a picture; its kind follows from the file's name.

    Raises MissingExtraError without matplotlib, InvalidInputError if it cannot be written.
    """
    check()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    replicas, flight, attained = figure.subplots(3, 1, sharex=True)
    busy = bounds.demand(world.requests, world.engine, DEMAND_S)
    minutes = [at / 60 for at in range(len(busy))]
    replicas.fill_between(minutes, busy, color="0.85", label="demand, busy servers")
    for name, outcome in outcomes.items():
        at = [one.at_s / 60 for one in outcome.moments]
        billed = [one.ready + one.starting + one.draining for one in outcome.moments]
        own = {"linewidth": 2.0 if name == "meshlb" else 1.0}
        replicas.step(at, billed, where="post", label=name, **own)
        flight.plot(at, [one.in_flight for one in outcome.moments], label=name, **own)
        each = outcome.by_minute()
        attained.plot([m + 0.5 for m in each], [100 * v for v in each.values()], label=name, **own)
    replicas.set_ylabel("replicas, billed")
    flight.set_ylabel("calls in flight")
    flight.set_yscale("symlog")
    attained.set_ylabel("in time, %")
    attained.set_xlabel("minutes")
    replicas.legend(ncols=4, fontsize="small")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"plot = {str(path)!r}: a picture's file ({error})") from error
