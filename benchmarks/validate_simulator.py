"""Does the scaling simulator tell what happens? The same calls on real processes and simulated.

Real: a controller whose actuator starts emulated model servers (``examples.modelserver``) with
their sidecars, and callers that are processes of their own. Simulated: the same arrivals, policy,
pickers and engine parameters in virtual time. Twice: with a fleet of a fixed size, and with one
that is scaled. A start takes as long in the simulation as it took in the median before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import psutil
from machine import describe, saturation
from processes import HERE, Processes
from scaled import READY, Scaled, serving

sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = str(HERE.parent)

from examples.demo.workload import Arrival, Mix, poisson
from meshlb.scale_model import RuleSpec, ScalePolicy
from meshlb.sim.scale.bounds import Static
from meshlb.sim.scale.engine import EngineParams
from meshlb.sim.scale.own import Own
from meshlb.sim.scale.run import World, simulate
from meshlb.sim.scale.trace import Request
from meshlb.v1 import scale_pb2

ENGINE = EngineParams()
CLIENTS = 2
OBJECTIVE = 2.0
"""Low, so that attainment is not simply 1: a call in time takes so many unloaded means."""
FIXED_NODES, FIXED_LOAD = 3, 0.75
LOADS = (0.6, 1.8, 3.0, 1.4, 0.5)
"""Of the scaled fleet, in nodes that are busy with full batches; equal steps."""
SCALE = {
    "min": 1, "max": 6, "stable_window_s": 6, "panic_window_s": 3, "scale_in_window_s": 15,
    "rate_period_s": 6,
}  # fmt: skip
TARGET = 8
LOAD_S = 4
"""What a server loads its model, so that start-up counts."""
SEEDS = 5
"""Simulations of the same arrivals, which differ by which caller a call comes from and by picks."""
TICK_S = 0.1
LOST = scale_pb2.REPLICA_STATE_LOST


def arrivals(loads: Sequence[float], step_s: float, seed: int) -> list[Arrival]:
    """Return Poisson arrivals that keep so many nodes busy, one step after the other."""
    rng, mix, made = random.Random(seed), Mix(), []
    for number, load in enumerate(loads):
        rate = load / mix.seconds(ENGINE.slots)
        made += [Arrival(number * step_s + a.at_s, a.prompt_tokens, a.answer_tokens)
                 for a in poisson(rng, rate, step_s, mix)]  # fmt: skip
    return made


class Lives:
    """When each replica was ordered and gone, as the controller tells it; Unix seconds."""

    def __init__(self, scaled: Scaled) -> None:
        self.ordered: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.start_ups: list[float] = []
        self.targets: list[tuple[float, int]] = []
        self.problems: set[str] = set()
        self._starting: set[str] = set()
        self._thread = threading.Thread(target=self._watch, args=(scaled,), daemon=True)
        self._thread.start()

    def _watch(self, scaled: Scaled) -> None:
        try:
            for status in scaled.watch():
                self._take(status, time.time())
        except grpc.RpcError:
            pass  # the controller has ended

    def _take(self, status: scale_pb2.ScaleStatus, now: float) -> None:
        if status.problem:
            self.problems.add(status.problem)
        self.targets.append((now, status.target_count))
        there = {one.replica_id: one for one in status.replicas if one.state != LOST}
        for name, one in there.items():
            since = one.state_time.ToNanoseconds() / 1e9
            self.ordered.setdefault(name, since)
            if one.state == scale_pb2.REPLICA_STATE_STARTING:
                self._starting.add(name)
            elif one.state == READY and name in self._starting:
                self._starting.remove(name)
                self.start_ups.append(since - self.ordered[name])
        for name in self.ordered.keys() - there.keys():
            self.gone.setdefault(name, now)

    def node_seconds(self, since: float, until: float) -> float:
        """Return them within a time, each from its order until it is gone."""
        ends = {name: min(until, self.gone.get(name, until)) for name in self.ordered}
        return sum(max(0.0, ends[n] - max(since, at)) for n, at in self.ordered.items())


def real(
    calls: Sequence[Arrival], policy: dict[str, Any], rules: str, load_s: float
) -> tuple[dict[str, Any], float]:
    """Return the figures of real processes, and the median start-up time in seconds."""
    command = ["sh", "-c", f'sleep {load_s}; exec "$@"', "sh", sys.executable, "-m",
               "examples.modelserver", "--listen", "{address}", "--slots", "{slots}"]  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as name,
        Processes() as processes,
        Scaled(processes, Path(name), policy, rules, 0.0, command, ENGINE.slots) as scaled,
    ):
        lives = Lives(scaled)
        scaled.until("the first nodes", lambda s: serving(s) == policy["min"] == s.ready_count)
        since, over, busy = play(processes, scaled, calls)
    until = since + calls[-1].at_s
    targets = [(at - since, n) for at, n in lives.targets if since <= at <= until]
    first = [n for at, n in lives.targets if at < since][-1]
    times = [one["total_s"] for one in over if one["code"] == "OK" and not one["cut_off"]]
    found = figures(times, len(calls), requests(calls), lives.node_seconds(since, until),
                    [(0.0, first), *targets])  # fmt: skip
    found |= {"failed": len(calls) - len(times), "cpu": busy, "problems": sorted(lives.problems)}
    return found, median(lives.start_ups)


def play(
    processes: Processes, scaled: Scaled, calls: Sequence[Arrival]
) -> tuple[float, list[dict[str, Any]], float]:
    """Make all calls; return the start in Unix seconds, what became of each, the CPU in use."""
    callers = [
        processes.python("-m", "examples.demo.caller", quiet=False, talk=True)
        for _ in range(CLIENTS)
    ]
    for number, caller in enumerate(callers):
        mine = [(a.at_s, a.prompt_tokens, a.answer_tokens) for a in calls[number::CLIENTS]]
        told = {"balancer": "meshlb", "target": f"mesh://{scaled.address}/bench", "picker": None,
                "until_s": 600, "arrivals": mine}  # fmt: skip
        tell(caller, told)
    for caller in callers:
        assert caller.stdout is not None
        if not caller.stdout.readline():
            raise RuntimeError("a caller ended before it began")
    psutil.cpu_percent()
    begin, since = time.monotonic() + 0.3, time.time() + 0.3
    for caller in callers:
        tell(caller, {"start": begin})
    over: list[list[dict[str, Any]]] = [[] for _ in callers]
    readers = [
        threading.Thread(target=lambda c=caller, o=ended: o.extend(map(json.loads, c.stdout)))
        for caller, ended in zip(callers, over, strict=True)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return since, [one for some in over for one in some], psutil.cpu_percent() / 100


def tell(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def requests(calls: Sequence[Arrival]) -> list[Request]:
    """Return the calls as the simulator wants them."""
    return [Request(a.at_s, a.prompt_tokens, a.answer_tokens) for a in calls]


def figures(
    times: Sequence[float],
    count: int,
    asked: Sequence[Request],
    node_seconds: float,
    targets: Sequence[tuple[float, int]],
) -> dict[str, Any]:
    """Return what is compared; the same arithmetic for both sides."""
    ordered = sorted(times)
    alone = [ENGINE.unloaded_s(one.prompt_tokens, one.tokens) for one in asked]
    limit_s = OBJECTIVE * sum(alone) / len(alone)
    course = [targets[0]]
    course += [now for before, now in itertools.pairwise(targets) if now[1] != before[1]]
    return {
        "calls": count,
        "p50_ms": 1e3 * ordered[math.ceil(0.50 * len(ordered)) - 1],
        "p99_ms": 1e3 * ordered[math.ceil(0.99 * len(ordered)) - 1],
        "mean_ms": 1e3 * sum(ordered) / len(ordered),
        "attainment": sum(one <= limit_s for one in ordered) / count,
        "node_seconds": node_seconds,
        "most": max(target for _, target in course),
        "targets": course,
    }


def simulated(
    calls: Sequence[Arrival], policy: ScalePolicy | None, initial: int, start_up_s: float
) -> list[dict[str, Any]]:
    """Return the same figures of simulations; without a policy the fleet stays as it is."""
    asked, found = requests(calls), []
    for seed in range(1, SEEDS + 1):
        world = World(asked, ENGINE, start_up_s, initial, CLIENTS, seed=seed)
        outcome = simulate(world, Static(initial) if policy is None else _own(policy))
        times = [c.done_at - c.arrived for c in outcome.calls if c.done_at is not None]
        found.append(figures(times, len(calls), asked, outcome.node_seconds, outcome.targets))
    return found


def _own(policy: ScalePolicy) -> Own:
    own = Own(policy, ENGINE.slots)
    own.interval_s = TICK_S  # as the controller decides
    return own


def show(name: str, one: dict[str, Any], many: Sequence[dict[str, Any]]) -> None:
    """Print real beside simulated: median, least to most of the seeds."""
    print(f"\n{name}: {one['calls']} calls, {one['failed']} failed; CPU {one['cpu']:.0%} "
          f"{saturation(one['cpu'])}")  # fmt: skip
    print(f"{'':14}{'real':>10}{'simulated':>12}{'least to most':>20}{'simulated/real':>16}")
    for key, digits in (("p50_ms", 0), ("mean_ms", 0), ("p99_ms", 0), ("attainment", 3),
                        ("node_seconds", 0), ("most", 0)):  # fmt: skip
        values = [each[key] for each in many]
        middle = median(values)
        spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
        print(f"{key:14}{one[key]:10.{digits}f}{middle:12.{digits}f}{spread:>20}"
              f"{middle / one[key]:16.2f}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the fixed fleet; the "
                        "scaled one takes twice as long")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    seconds, load_s = (2.0, 0.5) if args.quick else (args.seconds, LOAD_S)
    print(describe())
    found: dict[str, Any] = {}
    calls = arrivals([FIXED_NODES * FIXED_LOAD], seconds, args.seed)
    one, start_up_s = real(calls, {"min": FIXED_NODES, "max": FIXED_NODES}, "", load_s)
    many = simulated(calls, None, FIXED_NODES, start_up_s)
    found["fixed"] = {"real": one, "simulated": many, "start_up_s": start_up_s}
    show(f"fixed, {FIXED_NODES} nodes", one, many)
    calls = arrivals(LOADS, 2 * seconds / len(LOADS), args.seed)
    rule = f'[[service.bench.scale.rules]]\nkind = "reserve"\ntarget = {TARGET}\n'
    one, start_up_s = real(calls, SCALE, rule, load_s)
    policy = ScalePolicy("bench", rules=(RuleSpec("reserve", {"target": TARGET}),), **SCALE)
    many = simulated(calls, policy, SCALE["min"], start_up_s)
    found["scaled"] = {"real": one, "simulated": many, "start_up_s": start_up_s}
    show(f"scaled, a start takes {start_up_s:.1f} s", one, many)
    print("\ntargets, real:     ", " ".join(f"{n}@{at:.0f}" for at, n in one["targets"]))
    print("targets, simulated:", " ".join(f"{n}@{at:.0f}" for at, n in many[0]["targets"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
