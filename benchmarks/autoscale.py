"""Judge scaling by simulation: meshlb beside HPA, KPA and Ray Serve, an oracle and static fleets.

The policy's own code in virtual time, on the Azure conversation trace repeated 1, 4 and 16 times
and on a ramp of 25 minutes, with replicas that take 30 s and 155 s to start. Every autoscaler runs
at its defaults and over a range of the calls in flight that it wants of a replica. The ramp's
arrivals are random: its figures are means over several seeds, the worst one for counts.

    python benchmarks/autoscale.py --trace FILE [--cases x1,x4,x16,ramp] [--startups 30,155]
        [--json FILE] [--quick]

With --json the file is written after every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshlb import plugins
from meshlb.scale_model import RuleSpec, ScalePolicy
from meshlb.sim.scale import bounds, compare, trace
from meshlb.sim.scale.engine import EngineParams
from meshlb.sim.scale.outcome import Outcome
from meshlb.sim.scale.own import Own
from meshlb.sim.scale.run import World, simulate

PICKER = "least_request"
"""All have the same routing, near the best for equal replicas, so that scaling makes the odds."""
RAMP = (1, 4, 8, 10, 2, 6)
STEP_S = 250.0
PEAK_NODES, PEAK_USE = 8, 0.7
"""The ramp's peak fills so many replicas to this part of what they can do."""
WANTED, SAVING, OF_RIVAL = 0.99, 0.7, 0.9
DEFAULT = "default"
SEEDS = (1, 2, 3)
"""Of the ramp."""
RIVALS = {"hpa": (4, 5, 6, 6.5, 7, 7.5, 8), "kpa": (2, 3, 4, 6), "ray": (3, 4, 5, 6)}
OWN = (3, 4, 5, 6, 7, 8, 9, 9.5, 10, 11)
LOADS: dict[str, dict[str, tuple[float, ...]]] = {
    case: {"meshlb": OWN, **RIVALS} for case in ("x1", "x4", "x16", "ramp")
}


def worlds(case: str, start_up_s: float, requests: list[trace.Request]) -> list[World]:
    """Return what is simulated: once, or once a seed."""
    seeds = SEEDS if case == "ramp" else SEEDS[:1]
    return [world(case, start_up_s, requests, seed) for seed in seeds]


def world(case: str, start_up_s: float, requests: list[trace.Request], seed: int) -> World:
    """Return one of them."""
    engine = EngineParams()
    if case == "ramp":
        work_s = statistics.fmean(engine.work_s(r.prompt_tokens, r.tokens) for r in requests)
        unit = PEAK_NODES * PEAK_USE / work_s / max(RAMP)
        chosen = trace.steps([unit * rate for rate in RAMP], STEP_S, requests, seed)
    else:
        chosen = trace.repeat(requests, float(case.removeprefix("x")), seed)
    return compare.settled(World(chosen, engine, start_up_s=start_up_s, clients=1, picker=PICKER))


def own(world: World, load: float | None, most: int) -> Outcome:
    """Run meshlb's default policy, or with another target."""
    rule = RuleSpec("reserve", {} if load is None else {"target": load})
    policy = ScalePolicy("benchmark", max=most, rules=(rule,))
    return simulate(world, Own(policy, world.engine.slots))


def rival(name: str, world: World, load: float | None, most: int) -> Outcome:
    """Run a rival at its defaults, or with another target."""
    module = plugins.load(compare.RIVALS, name)
    params = dataclasses.replace(module.Params(), max=most)
    if load is not None:
        params = dataclasses.replace(params, load=load)
    return simulate(world, module.build(params, world.engine.slots))


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what is kept of a contender's runs: means, but for counts the worst."""
    each: list[dict[str, Any]] = [
        one.figures()
        | {
            "most_reversals_in_10_min": one.most_reversals(),
            "most": max(count for _, count in one.targets),
        }
        for one in outcomes
    ]
    return {
        key: max(values) if isinstance(values[0], int) else statistics.fmean(values)
        for key in each[0]
        for values in [[one[key] for one in each]]
    }


class Bench:
    """Runs what is not in the file yet."""

    def __init__(self, path: Path | None, requests: list[trace.Request]) -> None:
        self.path = path
        self.requests = requests
        self.found: dict[str, dict[str, dict[str, Any]]] = {}
        if path is not None and path.exists():
            self.found = json.loads(path.read_text())

    def case(self, case: str, start_up_s: float, quick: bool) -> dict[str, dict[str, Any]]:
        """Run one workload with one start-up time."""
        rows = self.found.setdefault(f"{case} {start_up_s:g}", {})
        all_ = worlds(case, start_up_s, self.requests)
        if "oracle" not in rows:
            best = [bounds.best(one, WANTED) for one in all_]
            self.keep(rows, "oracle", figures([outcome for outcome, _ in best]))
            static = [bounds.static(one, peak) for one, (_, peak) in zip(all_, best, strict=True)]
            self.keep(rows, "static", figures(static))
        most = 3 * rows["static"]["most"]
        for name, loads in LOADS[case].items():
            for load in (None, *(() if quick else loads)):
                key = f"{name} {DEFAULT if load is None else format(load, 'g')}"
                if key in rows:
                    continue
                began = time.process_time()
                run = own if name == "meshlb" else functools.partial(rival, name)
                row = figures([run(one, load, most) for one in all_])
                self.keep(rows, key, row)
                print(
                    f"{case:5} {start_up_s:4g} s  {key:16} {row['attainment']:8.4f} "
                    f"{row['node_seconds']:10.0f} node-s  "
                    f"({time.process_time() - began:.0f} s CPU)",
                    flush=True,
                )
        return rows

    def keep(self, rows: dict[str, dict[str, Any]], key: str, found: dict[str, Any]) -> None:
        """Write one run down."""
        rows[key] = found
        if self.path is not None:
            self.path.write_text(json.dumps(self.found, indent=1))


def runs(rows: dict[str, dict[str, Any]], *names: str) -> dict[str, dict[str, Any]]:
    """Return the runs of these contenders."""
    return {key: row for key, row in rows.items() if key.split()[0] in names}


def cheapest(rows: dict[str, dict[str, Any]], attainment: float) -> str | None:
    """Return the cheapest run of that attainment."""
    good = [key for key, row in rows.items() if row["attainment"] >= attainment]
    return min(good, key=lambda key: rows[key]["node_seconds"], default=None)


def best_rival(rows: dict[str, dict[str, Any]]) -> str:
    """Return the cheapest rival of 99 %; none reaches it: the one that comes nearest."""
    return cheapest(rows, WANTED) or max(rows, key=lambda key: rows[key]["attainment"])


def say(case: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print what the figures come to."""
    ours = runs(rows, "meshlb")
    rivals = runs(rows, "hpa", "kpa", "ray")
    defaults = {key: row for key, row in rivals.items() if key.endswith(DEFAULT)}
    print(f"\n{case}")
    for about, those in (("at defaults", defaults), ("swept", rivals)):
        best = best_rival(those)
        theirs = those[best]
        key = cheapest(ours, theirs["attainment"])
        if key is None:
            print(f"  best rival {about}: {best}, {theirs['attainment']:.4f}: not reached")
            continue
        ratio = ours[key]["node_seconds"] / theirs["node_seconds"]
        print(
            f"  best rival {about}: {best}, {theirs['attainment']:.4f}, "
            f"{theirs['node_seconds']:.0f}; {key}: {ours[key]['attainment']:.4f}, "
            f"{ours[key]['node_seconds']:.0f}, {ratio:.2f} of it; wanted {OF_RIVAL:g}"
            f"{'' if ratio <= OF_RIVAL else '  MISSED'}"
        )
    static, oracle = rows["static"]["node_seconds"], rows["oracle"]["node_seconds"]
    key = cheapest(ours, WANTED)
    if key is None:
        print("  99 %: not reached  MISSED")
    else:
        part = (static - ours[key]["node_seconds"]) / (static - oracle)
        print(
            f"  99 %: {key}, {ours[key]['node_seconds']:.0f}; oracle {oracle:.0f}, static "
            f"{static:.0f} ({rows['static']['most']}): {part:.0%} of the oracle's saving; wanted "
            f"{SAVING:.0%}{'' if part >= SAVING else '  MISSED'}"
        )
    for key, row in ours.items():
        if key.endswith(DEFAULT):
            print(
                f"  {key}: {row['attainment']:.4f}, {row['node_seconds']:.0f}, most {row['most']}, "
                f"reversals {row['reversals']}, in 10 min {row['most_reversals_in_10_min']}, "
                f"broken {row['broken_streams']}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", required=True, help="azure_llm_2023_conv.csv")
    parser.add_argument("--cases", default="x1,x4,x16,ramp")
    parser.add_argument("--startups", default="30,155")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="defaults only")
    args = parser.parse_args()
    bench = Bench(args.json, trace.load(args.trace))
    found = [
        (f"{case}, start-up {start_up} s", bench.case(case, float(start_up), args.quick))
        for case in args.cases.split(",")
        for start_up in args.startups.split(",")
    ]
    for about, rows in found:
        say(about, rows)


if __name__ == "__main__":
    main()
