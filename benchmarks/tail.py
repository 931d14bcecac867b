"""Tail latency of real calls to unequal servers: meshlb beside gRPC, Envoy and the ideal.

The fleet: 8 plain servers of 4 slots, exponential service times, 5 of mean 40 ms, 2 of 80 ms, 1 of
160 ms: 625 calls/s. Every contender gets the same arrivals and a fleet of its own, one after
another; a round is all of them once, and ratios are of figures pooled over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import psutil
from callers import Open, Perfect, Result, open_channel, open_perfect, run
from envoy import binary, config
from machine import describe
from processes import Processes, free_port

MEANS_MS: list[float] = [40, 40, 40, 40, 40, 80, 80, 160]
SLOTS = 4
CAPACITY = sum(SLOTS * 1000 / mean for mean in MEANS_MS)


def round_robin(_: Processes, ports: list[int], clients: int) -> Open:
    """Call through gRPC's own policy."""
    del clients
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options = [("grpc.lb_policy_name", "round_robin")]
    return open_channel(lambda _: grpc.aio.insecure_channel(target, options))


def envoy(processes: Processes, ports: list[int], clients: int) -> Open:
    """Call through one Envoy a client."""
    program, folder = binary(), Path(tempfile.mkdtemp())
    listen = [free_port() for _ in range(clients)]
    for number, port in enumerate(listen):
        path = folder / f"{number}.json"
        path.write_text(config(port, ports))
        processes.start(
            program, "-c", path, "--concurrency", 1, "--base-id", number + 1, "-l", "error",
            "--use-dynamic-base-id",
        )  # fmt: skip
    time.sleep(2 + clients * 0.1)
    return open_channel(lambda number: grpc.aio.insecure_channel(f"127.0.0.1:{listen[number]}"))


def ideal(_: Processes, ports: list[int], clients: int) -> Open:
    """Shortest expected delay with one shared perfect count and true speeds."""
    del clients
    return open_perfect(Perfect([mean / 1000 for mean in MEANS_MS], SLOTS), ports)


def meshlb(
    slots: int | None, picker: str | None = None
) -> Callable[[Processes, list[int], int], Open]:
    """Return how to start a controller and a sidecar a server, and call through the stub."""

    def start(processes: Processes, ports: list[int], clients: int) -> Open:
        del clients
        controller, _ = processes.controller()
        processes.sidecars(controller, "bench", ports, slots)
        import meshlb.aio

        options = [] if picker is None else [("meshlb.picker", picker)]
        target = f"mesh://{controller}/bench"
        return open_channel(lambda _: meshlb.aio.insecure_channel(target, options))

    return start


CONTENDERS: dict[str, Callable[[Processes, list[int], int], Open]] = {
    "round_robin": round_robin,
    "envoy": envoy,
    "ideal": ideal,
    "meshlb": meshlb(None),
    "meshlb --slots": meshlb(SLOTS),
}


def figures(results: list[Result]) -> dict[str, float]:
    """Return p50, p99 and mean in ms, and how many failed."""
    latencies = sorted(latency * 1000 for _, latency, _ in results)
    return {
        "calls": len(latencies),
        "failed": sum(1 for _, _, ok in results if not ok),
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "mean_ms": statistics.fmean(latencies),
    }


def measure(
    name: str, clients: int, rate: float, warm_up: float, seconds: float, seed: int
) -> tuple[list[Result], float]:
    """Run one contender on a fleet of its own; return its results and the machine's CPU use."""
    with Processes() as processes:
        ports = processes.servers(MEANS_MS, SLOTS)
        open_ = CONTENDERS[name](processes, ports, clients)
        psutil.cpu_percent()
        results = run(open_, clients, rate, warm_up + seconds, seed)
        return [one for one in results if one[0] >= warm_up], psutil.cpu_percent() / 100


def table(clients: int, rate: float, found: dict[str, dict[str, float]]) -> str:
    """Return one setting's figures as text."""
    head = f"{clients} clients, {rate:g} calls/s of {CAPACITY:g}"
    lines = [
        head,
        (
            f"{'contender':16} {'p50 ms':>8} {'p99 ms':>8} {'mean ms':>8} {'failed':>7} {'CPU':>5}"
            f" {'p99/ideal':>10} {'mean/ideal':>11} {'p99/envoy':>10}"
        ),
    ]
    ideal_, envoy_ = found.get("ideal"), found.get("envoy")
    for name, one in found.items():
        to_ideal = f"{one['p99_ms'] / ideal_['p99_ms']:10.2f}" if ideal_ else " " * 10
        mean = f"{one['mean_ms'] / ideal_['mean_ms']:11.2f}" if ideal_ else " " * 11
        to_envoy = f"{one['p99_ms'] / envoy_['p99_ms']:10.2f}" if envoy_ else " " * 10
        lines.append(
            f"{name:16} {one['p50_ms']:8.1f} {one['p99_ms']:8.1f} {one['mean_ms']:8.1f}"
            f" {one['failed']:7.0f} {one['cpu']:5.0%} {to_ideal} {mean} {to_envoy}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rates", type=float, nargs="+", default=[330, 440])
    parser.add_argument("--seconds", type=float, default=20, help="counted, a run")
    parser.add_argument("--warm-up", type=float, default=10, help="not counted, alike for all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--picker", help="measure this picker of meshlb's as well")
    parser.add_argument("--envoy-up-to", type=int, default=16, help="clients; one Envoy each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.picker:
        CONTENDERS[args.picker] = meshlb(None, args.picker)
        args.contenders.append(args.picker)
    print(describe(), flush=True)
    report = []
    for clients in args.clients:
        names = [n for n in args.contenders if n != "envoy" or clients <= args.envoy_up_to]
        for rate in args.rates:
            pooled: dict[str, list[Result]] = {name: [] for name in names}
            cpu: dict[str, list[float]] = {name: [] for name in names}
            for number in range(args.rounds):
                for name in names:
                    results, used = measure(
                        name, clients, rate, args.warm_up, args.seconds, args.seed + number
                    )
                    pooled[name] += results
                    cpu[name].append(used)
                    p99 = figures(results)["p99_ms"]
                    print(f"  round {number + 1}: {name} p99 {p99:.0f} ms", file=sys.stderr)
            found = {
                name: figures(pooled[name]) | {"cpu": statistics.fmean(cpu[name])} for name in names
            }
            print("\n" + table(clients, rate, found), flush=True)
            report.append({"clients": clients, "rate": rate, "contenders": found})
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "runs": report}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
