"""Tail latency of real calls to unequal servers: meshlb beside gRPC, Envoy and the ideal.

The fleet: 8 plain servers of 4 slots, exponential service times, 5 of mean 40 ms, 2 of 80 ms, 1 of
160 ms: 625 calls/s. Every contender gets the same arrivals and a fleet of its own, one after
another; a round is all of them once, in another order each time, and ratios are of figures pooled
over the rounds. Failed calls count with the time that they took. CPU is of the whole machine; then,
in parts of one core, of what the contender itself runs beside clients and servers, and of clients.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
from callers import Open, Perfect, Result, open_channel, open_perfect, run
from envoy import one_each
from machine import describe, saturation, verdict
from processes import Processes

MEANS_MS: list[float] = [40, 40, 40, 40, 40, 80, 80, 160]
SLOTS = 4
QUICK_MEANS_MS: list[float] = [40, 80, 160]


def round_robin(_: Processes, ports: list[int], clients: int) -> Open:
    """Call through gRPC's own policy."""
    del clients
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options = [("grpc.lb_policy_name", "round_robin")]
    return open_channel(lambda _: grpc.aio.insecure_channel(target, options))


def envoy(processes: Processes, ports: list[int], clients: int) -> Open:
    """Call through one Envoy a client."""
    listen = one_each(processes, ports, clients)
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
CPU = ("cpu", "own_cpu", "clients_cpu")
HEAD = (
    f"{'contender':16} {'p50 ms':>8} {'p99 ms':>8} {'of rounds':>15} {'mean ms':>8} {'failed':>7}"
    f" {'p99/ideal':>10} {'mean/ideal':>11} {'p99/envoy':>10} {'CPU':>5} {'own':>5} {'clients':>8}"
)
REACH = {16: (1.25, 1.3, 0.30), 64: (1.4, None, None)}
"""By clients: p99 to the ideal's, mean to the ideal's, p99 to Envoy's, at most."""


def figures(results: list[Result]) -> dict[str, Any]:
    """Return p50, p99 and mean in ms, how many failed, and of what most."""
    latencies = sorted(latency * 1000 for _, latency, _ in results)
    errors = Counter(error for _, _, error in results if error)
    return {
        "calls": len(latencies),
        "failed": errors.total(),
        "most_failed_of": errors.most_common(1)[0][0] if errors else "",
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "mean_ms": statistics.fmean(latencies),
    }


def measure(name: str, clients: int, rate: float, seed: int, args: argparse.Namespace) -> Any:
    """Run one contender on a fleet of its own; return its results and what CPU was used."""
    with Processes() as processes:
        ports = processes.servers(MEANS_MS, SLOTS, seed)
        open_ = CONTENDERS[name](processes, ports, clients)
        psutil.cpu_percent()
        used, of_clients, began = processes.cpu_seconds(len(ports)), ended_cpu_s(), time.monotonic()
        results = run(open_, clients, rate, args.warm_up + args.seconds, seed)
        elapsed_s = time.monotonic() - began
        cpu = {
            "cpu": psutil.cpu_percent() / 100,
            "own_cpu": (processes.cpu_seconds(len(ports)) - used) / elapsed_s,
            "clients_cpu": (ended_cpu_s() - of_clients) / elapsed_s,
        }
        return [one for one in results if one[0] >= args.warm_up], cpu


def ended_cpu_s() -> float:
    """Return the CPU time of all processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(clients: int, rate: float, names: list[str], args: argparse.Namespace) -> Any:
    """Run all contenders in one setting, in rounds; return the figures of each."""
    pooled: dict[str, list[Result]] = {name: [] for name in names}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(args.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results, cpu = measure(name, clients, rate, args.seed + number, args)
            pooled[name] += results
            rounds[name].append({**cpu, **figures(results)})
            p99 = rounds[name][-1]["p99_ms"]
            print(f"  round {number + 1}: {name} p99 {p99:.0f} ms", file=sys.stderr)
    return {
        name: figures(pooled[name])
        | {key: statistics.fmean(one[key] for one in rounds[name]) for key in CPU}
        | {"rounds": rounds[name]}
        for name in names
    }


def ratios(found: dict[str, Any], name: str) -> tuple[float | None, float | None, float | None]:
    """Return p99 to the ideal's, mean to the ideal's, p99 to Envoy's; None where that is not."""
    one, best, proxy = found[name], found.get("ideal"), found.get("envoy")
    return (
        one["p99_ms"] / best["p99_ms"] if best else None,
        one["mean_ms"] / best["mean_ms"] if best else None,
        one["p99_ms"] / proxy["p99_ms"] if proxy else None,
    )


def table(clients: int, rate: float, found: dict[str, Any]) -> str:
    """Return one setting's figures as text."""
    lines = [
        f"{clients} clients, {rate:g} calls/s of {sum(SLOTS * 1000 / m for m in MEANS_MS):g}",
        HEAD,
    ]
    for name, one in found.items():
        of_rounds = [part["p99_ms"] for part in one["rounds"]]
        parts = [
            f"{ratio:{width}.2f}" if ratio is not None else " " * width
            for ratio, width in zip(ratios(found, name), (10, 11, 10), strict=True)
        ]
        lines.append(
            f"{name:16} {one['p50_ms']:8.1f} {one['p99_ms']:8.1f}"
            f" {min(of_rounds):6.0f} .. {max(of_rounds):5.0f} {one['mean_ms']:8.1f}"
            f" {one['failed']:7} {' '.join(parts)} {one['cpu']:5.0%} {one['own_cpu']:5.0%}"
            f" {one['clients_cpu']:8.0%}  {saturation(one['cpu'])} {one['most_failed_of']}".rstrip()
        )
    names = ("p99 to the ideal's", "mean to the ideal's", "p99 to Envoy's")
    for name in found:
        if name.startswith("meshlb") and clients in REACH:
            for what, ratio, reach in zip(names, ratios(found, name), REACH[clients], strict=True):
                if ratio is not None and reach is not None:
                    lines.append(verdict(f"{name}, {what}", ratio, reach))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rates", type=float, nargs="+", default=[330, 440])
    parser.add_argument("--seconds", type=float, default=20, help="counted, a run")
    parser.add_argument("--warm-up", type=float, default=10, help="not counted, alike for all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--pickers", nargs="+", default=[], help="others of meshlb's, as well")
    parser.add_argument("--envoy-up-to", type=int, default=16, help="clients; one Envoy each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.clients, args.rates, args.rounds = [3], [60], 1
        MEANS_MS[:] = QUICK_MEANS_MS
        args.seconds, args.warm_up = 1.0, 0.5
    for picker in args.pickers:
        CONTENDERS[picker] = meshlb(None, picker)
        args.contenders.append(picker)
    print(describe(), flush=True)
    report = []
    for clients in args.clients:
        names = [n for n in args.contenders if n != "envoy" or clients <= args.envoy_up_to]
        for rate in args.rates:
            found = compare(clients, rate, names, args)
            print("\n" + table(clients, rate, found), flush=True)
            report.append({"clients": clients, "rate": rate, "contenders": found})
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "runs": report}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
