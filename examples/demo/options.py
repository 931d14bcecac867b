"""The demo's command line, checked whole before anything starts."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from examples.modelserver.engines import PACKAGE as ENGINES
from meshlb import plugins
from meshlb.client.view import PICKERS
from meshlb.errors import InvalidInputError

SPEEDS = (2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.5)
"""Times the reference, so that enough calls fit into a minute; two cores carry both fleets."""
LLAMA_NODES = 3
LEAST_SECONDS, MOST_SECONDS = 4.0, 3600.0
MOST_NODES = 16
BALANCE, SCALE = "balance", "scale"
ACTS = (BALANCE, SCALE)


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    acts: tuple[str, ...]
    """What is shown, one after the other."""
    seconds: float
    """Length of each act."""
    engine: str
    speeds: tuple[float, ...]
    """Of the nodes, in order; of both fleets alike."""
    clients: int
    """Caller processes to a fleet."""
    utilization: float
    """Part of the fleet's capacity that the load takes, unless ``speed`` says otherwise."""
    trace: Path | None
    speed: float | None
    """Times as fast as the trace was; None: as fast as ``utilization`` allows."""
    seed: int
    picker: str | None
    plain: bool
    json: Path | None
    svg: Path | None

    @property
    def tail_s(self) -> float:
        """Time at the end in which no call begins, so that open ones can end."""
        return max(0.15 * self.seconds, min(0.5 * self.seconds, 9.0))

    @property
    def load_s(self) -> float:
        """Time in which calls begin."""
        return self.seconds - self.tail_s

    @property
    def kill_s(self) -> float:
        """When a server is killed: midway through the load."""
        return 0.5 * self.load_s

    @property
    def victim(self) -> int:
        """Index of the node that is killed: the first of the fastest."""
        return self.speeds.index(max(self.speeds))


def parse(words: list[str] | None = None) -> Options:
    """Return the options; InvalidInputError names every one that is out of range."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Act one, balance: two identical fleets of model servers, unequal in speed,"
        " under the same load, one balanced by meshlb, one by gRPC's own round_robin; midway one"
        " server of each is killed. Act two, scale: a fleet that grows and shrinks with its load;"
        " one node is killed and replaced. Exit status 0 if no call failed under meshlb.",
    )
    add = parser.add_argument
    add(
        "--act",
        choices=(*ACTS, "both"),
        help="what to show (default: both; with --engine llama: balance)",
    )
    add("--seconds", type=float, default=60.0, metavar="N", help="length of an act (default 60)")
    add("--plain", action="store_true", help="lines instead of a live screen")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    add(
        "--engine",
        default="emulated",
        choices=plugins.names(ENGINES),
        help="emulated: only a model's timing (default); llama: a real language model on the CPU",
    )
    add("--trace", type=Path, metavar="FILE", help="replay a CSV file instead of fitted load")
    add("--speed", type=float, metavar="X", help="play it X times as fast (default: by --load)")
    add("--load", type=float, default=0.65, metavar="PART", help="of capacity (default 0.65)")
    add("--nodes", metavar="S,S,...", help="speeds of the servers (default 2,2,2,2,2,1,1,.5)")
    add("--clients", type=int, default=2, metavar="N", help="caller processes a fleet (default 2)")
    add("--picker", choices=plugins.names(PICKERS), help="how meshlb picks (default: its own)")
    add("--seed", type=int, default=1, help="the same seed gives the same calls (default 1)")
    add("--svg", type=Path, metavar="FILE", help=argparse.SUPPRESS)  # makes the README's picture
    args = parser.parse_args(words)
    faults: list[str] = []

    def check(ok: bool, name: str, value: object, allowed: str) -> None:
        if not ok:
            faults.append(f"--{name} {value}: {allowed}")

    check(
        LEAST_SECONDS <= args.seconds <= MOST_SECONDS,
        "seconds",
        f"{args.seconds:g}",
        f"{LEAST_SECONDS:g} to {MOST_SECONDS:g}",
    )
    check(0.05 <= args.load <= 0.95, "load", f"{args.load:g}", "0.05 to 0.95")
    check(1 <= args.clients <= 8, "clients", args.clients, "1 to 8")
    if args.speed is not None:
        check(0.01 <= args.speed <= 1000, "speed", f"{args.speed:g}", "0.01 to 1000")
        check(args.trace is not None, "speed", f"{args.speed:g}", "only with --trace")
    try:
        speeds = _speeds(args.nodes, args.engine)
    except InvalidInputError as error:
        faults += error.faults
    for name in ("json", "svg"):
        path = getattr(args, name)
        if path is not None:
            check(path.parent.is_dir(), name, path, "its folder must exist")
    acts = _acts(args.act, args.engine)
    if args.svg and len(acts) > 1:
        faults.append("--svg needs one act: with --act balance or --act scale")
    if args.engine == "llama" and SCALE in acts:
        faults.append(f"--act {args.act}: with --engine llama only balance")
    if args.svg and args.plain:
        faults.append("--svg needs the live screen: not with --plain")
    if faults:
        raise InvalidInputError(faults)
    return Options(
        acts=acts,
        seconds=args.seconds,
        engine=args.engine,
        speeds=speeds,
        clients=args.clients,
        utilization=args.load,
        trace=args.trace,
        speed=args.speed,
        seed=args.seed,
        picker=args.picker,
        plain=args.plain,
        json=args.json,
        svg=args.svg,
    )


def _acts(wanted: str | None, engine: str) -> tuple[str, ...]:
    if wanted is None:
        return (BALANCE,) if engine == "llama" else ACTS
    return ACTS if wanted == "both" else (wanted,)


def _speeds(text: str | None, engine: str) -> tuple[float, ...]:
    if text is None:
        return (1.0,) * LLAMA_NODES if engine == "llama" else SPEEDS
    wanted = f"2 to {MOST_NODES} numbers above 0 and at most 20"
    try:
        speeds = tuple(float(word) for word in text.split(","))
    except ValueError:
        speeds = ()
    if not 2 <= len(speeds) <= MOST_NODES or not all(0 < s <= 20 for s in speeds):
        raise InvalidInputError(f"--nodes {text}: {wanted}")
    if engine == "llama" and not math.isclose(min(speeds), max(speeds)):
        raise InvalidInputError(f"--nodes {text}: a real model has no speed to set; all must be 1")
    return speeds
