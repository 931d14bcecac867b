"""Try a scale policy on recorded calls, beside other autoscalers, in virtual time.

meshlb simulate --trace FILE                      the default policy, and what is in the trace
meshlb simulate --trace FILE --config meshlb.toml --startup 60 --plot scaling.png

The trace is a CSV file with the columns arrival_s, context_tokens and generated_tokens. Policies
and pickers are the very code that a controller and its clients run; servers are simulated, with
continuous batching. Attainment is the part of calls that took at most --objective times what calls
of the trace take in the mean on an idle server; node-seconds count from each order to start until
the replica is gone. "oracle" knows the future and reaches 99 %, "static" is sized for its peak.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from meshlb import plugins, settings
from meshlb.cli import _ask
from meshlb.cli._progress import Bars
from meshlb.errors import InvalidInputError
from meshlb.model import DEFAULT_PICKER
from meshlb.scale_model import ScalePolicy
from meshlb.sim.scale import compare, plot, trace
from meshlb.sim.scale.engine import EngineParams, load_params
from meshlb.sim.scale.outcome import Outcome
from meshlb.sim.scale.run import World

HEAD = ("POLICY", "ATTAINMENT", "NODE-SECONDS", "OF STATIC", "P99 MS", "REVERSALS", "BROKEN")
MOST_NODES = 1000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add = parser.add_argument
    add("--trace", required=True, metavar="FILE", help="calls to replay")
    add("--rate", type=float, default=1.0, metavar="X", help="replay each call X times, jittered")
    add("--config", metavar="FILE", help="meshlb.toml with the policy; default: the default policy")
    add("--service", default="", help="whose policy, if the file has several")
    add("--startup", type=float, default=155.0, metavar="S", help="seconds a replica takes to "
        "start, default %(default)g")  # fmt: skip
    add("--rivals", default="hpa,kpa,ray", help="compared with, default %(default)s; '': none")
    add("--engine", metavar="FILE", help="TOML with the servers' parameters; default: the demo's")
    add("--objective", type=float, default=5.0, metavar="X", help="default %(default)g")
    add("--initial", type=int, metavar="N", help="replicas at the start; default: as needed")
    add("--clients", type=int, default=4, metavar="N", help="default %(default)s")
    add("--seed", type=int, default=1)
    add("--json", metavar="FILE", help="write figures; '-': to standard output")
    add("--plot", metavar="FILE", help="draw demand, replicas and attainment (meshlb[plot])")


def run(args: argparse.Namespace) -> int:
    """Simulate; print a table, or JSON."""
    _check(args)
    if args.plot:
        plot.check()
    rivals = [name.strip() for name in args.rivals.split(",") if name.strip()]
    for name in rivals:
        plugins.load(compare.RIVALS, name)
    policy, picker = _policy(args.config, args.service)
    world = World(
        requests=trace.repeat(trace.load(args.trace), args.rate, args.seed),
        engine=load_params(args.engine) if args.engine else EngineParams(),
        start_up_s=args.startup,
        clients=args.clients,
        picker=picker,
        objective=args.objective,
        seed=args.seed,
    )
    if not world.requests:
        raise InvalidInputError(f"rate = {args.rate:g}: leaves no call of the trace")
    world = compare.settled(world, args.initial)
    with Bars() as bars:
        outcomes = compare.compare(world, policy, rivals, bars.update)
    figures = {"policies": {name: outcome.figures() for name, outcome in outcomes.items()}}
    if args.json:
        _write(args.json, json.dumps(figures, indent=1) + "\n")
    if args.plot:
        plot.draw(args.plot, world, outcomes)
    if args.json != "-":
        print(_ask.table(HEAD, [_row(o, outcomes["static"]) for o in outcomes.values()]))
    return 0


def _check(args: argparse.Namespace) -> None:
    ranges = {
        "startup": (0.0, 86400.0),
        "objective": (1.0, 1000.0),
        "clients": (1, 1000),
        "initial": (1, MOST_NODES),
    }
    faults = [
        f"{key} = {getattr(args, key)!r}: {least:g} to {most:g}"
        for key, (least, most) in ranges.items()
        if getattr(args, key) is not None and not least <= getattr(args, key) <= most
    ]
    if faults:
        raise InvalidInputError(faults)


def _policy(path: str | None, service: str) -> tuple[ScalePolicy, str]:
    """Return the policy to try, and the picker of its service."""
    if path is None:
        return ScalePolicy(service or "simulated", max=MOST_NODES), DEFAULT_PICKER
    read = settings.load(path)
    known = sorted(read.policies)
    if not service and len(known) == 1:
        service = known[0]
    if service not in read.policies:
        names = ", ".join(known) or "none has a policy there ([service.NAME.scale])"
        raise InvalidInputError(f"service = {service!r}: one of {names}")
    return read.policies[service], read.of(service).picker


def _row(outcome: Outcome, static: Outcome) -> tuple[str, ...]:
    found = outcome.figures()
    return (
        outcome.name,
        f"{100 * outcome.attainment:.2f} %",
        f"{outcome.node_seconds:.0f}",
        f"{outcome.node_seconds / max(1e-9, static.node_seconds):.0%}",
        "-" if found["p99_ms"] is None else f"{found['p99_ms']:.0f}",
        str(outcome.reversals),
        str(outcome.broken),
    )


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"json = {path!r}: a file to write ({error.strerror})") from error
