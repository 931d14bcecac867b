"""Judge pickers by simulation: ratios to shortest expected delay with perfect knowledge (SED).

Runs the pickers' own code, and the controller's own learning of speeds, in virtual time on the
fleet of the design: 5 nodes of 40 ms, 2 of 80, 1 of 160, 4 slots each, exponential; 625 calls/s.
With a trace of requests to a language model, also on equal servers with continuous batching, where
least requests is near the best there is.

    python benchmarks/simulate_pickers.py [--json] [--seeds N] [--pickers A,B] [--seconds S]
        [--trace FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from meshlb.sim.run import run
from meshlb.sim.scale import bounds, trace
from meshlb.sim.scale.run import World, simulate
from meshlb.sim.scenario import IDEAL, Result, Scenario, Speeds

CASES = (
    (330, 3, 0.1), (330, 16, 0.1), (330, 64, 0.1),
    (440, 3, 0.1), (440, 16, 0.1), (440, 64, 0.1),
    (560, 256, 0.1), (560, 1000, 0.1), (560, 256, 0.5), (560, 1000, 0.5),
)  # fmt: skip
OTHERS = (
    "round_robin", "random", "least_request", "p2c", "response_time", "dynamic_weight",
)  # fmt: skip
"""Compared in the middle case only: most of them are far off at 560/s."""
OTHERS_CASE = (440, 16, 0.1)
MODEL_CASES = ((14, 4), (14, 16), (18, 4), (18, 16))
"""Servers and clients, for the trace: its first 20 minutes, four times."""
MODEL_PICKERS = ("least_request", "expected_delay", "p2c", "round_robin")
MODEL_S, MODEL_TIMES = 1200.0, 4.0


def figures(results: list[Result]) -> dict[str, float]:
    """Return the mean over the seeds of each figure, in milliseconds."""
    return {
        "p50_ms": 1e3 * statistics.fmean(r.quantile_s(0.5) for r in results),
        "p99_ms": 1e3 * statistics.fmean(r.quantile_s(0.99) for r in results),
        "mean_ms": 1e3 * statistics.fmean(r.mean_s for r in results),
        "left": max(r.left for r in results),
    }


class Bench:
    """Runs scenarios, and the ideal once a rate."""

    def __init__(self, seeds: int, seconds: float) -> None:
        self.seeds = range(1, seeds + 1)
        self.seconds = seconds
        self.ideals: dict[float, dict[str, float]] = {}

    def all_seeds(self, **what: Any) -> dict[str, float]:
        """Return the figures of one scenario, over all seeds."""
        return figures([run(Scenario(seed=s, measured_s=self.seconds, **what)) for s in self.seeds])

    def row(self, picker: str, case: tuple[int, int, float], speeds: Speeds) -> dict[str, Any]:
        """Return one line of the table: the picker beside the ideal at that rate."""
        rate, clients, interval_s = case
        if rate not in self.ideals:
            self.ideals[rate] = self.all_seeds(picker=IDEAL, rate=rate)
        ideal = self.ideals[rate]
        got = self.all_seeds(
            picker=picker, rate=rate, clients=clients, interval_s=interval_s, speeds=speeds
        )
        return {
            "picker": picker,
            "rate": rate,
            "clients": clients,
            "interval_s": interval_s,
            "speeds": speeds.value,
            **got,
            "ideal_p99_ms": ideal["p99_ms"],
            "p99_ratio": got["p99_ms"] / ideal["p99_ms"],
            "mean_ratio": got["mean_ms"] / ideal["mean_ms"],
        }


def models(path: Path) -> list[dict[str, Any]]:
    """Return a row for each picker on equal servers of a language model."""
    requests = [one for one in trace.load(path) if one.arrival_s < MODEL_S]
    requests = trace.repeat(requests, MODEL_TIMES)
    rows = []
    for nodes, clients in MODEL_CASES:
        for picker in MODEL_PICKERS:
            world = World(requests, initial=nodes, clients=clients, picker=picker)
            done = [call.done_at for call in simulate(world, bounds.Static(nodes)).calls]
            took = sorted(
                end - one.arrival_s
                for end, one in zip(done, requests, strict=True)
                if end is not None
            )
            rows.append(
                {
                    "nodes": nodes, "clients": clients, "picker": picker, "calls": len(took),
                    "p50_s": took[len(took) // 2], "p99_s": took[int(0.99 * len(took))],
                    "mean_s": statistics.fmean(took),
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual, after 10 to warm up")
    parser.add_argument("--pickers", default=",".join(OTHERS), help="compared in one case each")
    parser.add_argument("--trace", type=Path, help="requests to a language model, Azure's columns")
    arguments = parser.parse_args()
    bench = Bench(arguments.seeds, arguments.seconds)
    work = [
        ("expected_delay", case, speeds)
        for case in CASES
        for speeds in (Speeds.SLOTS, Speeds.LEARNED)
    ]
    work += [(name, OTHERS_CASE, Speeds.SLOTS) for name in arguments.pickers.split(",") if name]
    rows = []
    heading = (
        "picker           calls/s clients   age speeds   p50 ms  p99 ms  SED p99  ratio"
        "  mean ratio  left"
    )
    if not arguments.json:
        print(heading, flush=True)
    for picker, case, speeds in work:
        row = bench.row(picker, case, speeds)
        rows.append(row)
        if not arguments.json:
            print(
                f"{picker:16} {row['rate']:7} {row['clients']:7} {row['interval_s']:5.1f} "
                f"{row['speeds']:8} {row['p50_ms']:6.0f} {row['p99_ms']:7.0f} "
                f"{row['ideal_p99_ms']:8.0f} {row['p99_ratio']:6.2f} {row['mean_ratio']:11.2f} "
                f"{row['left']:5}",
                flush=True,
            )
    served = models(arguments.trace) if arguments.trace else []
    if arguments.json:
        json.dump(rows + served, sys.stdout, indent=1)
        print()
        return
    if served:
        print("\nservers clients picker            p50 s  p99 s  mean s")
    for row in served:
        print(
            f"{row['nodes']:7} {row['clients']:7} {row['picker']:16} {row['p50_s']:6.2f} "
            f"{row['p99_s']:6.2f} {row['mean_s']:7.2f}"
        )


if __name__ == "__main__":
    main()
