"""How many sidecars and clients one controller carries, and how fast a change goes through.

S report streams at one report a second and W subscribed clients, spread over 20 services, from two
processes of their own (``control_sidecars.py`` and ``control_clients.py``). Nodes' health flips at
random; the latency is from sending that report until each client whose subset holds the node has a
table that shows it, so it includes the tick and how late the load's own processes are. A change
that a client never saw is counted as missed. CPU is of the controller's process alone. Sizes grow
until one breaks: changes are missed or take over a second, or reports fall behind.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
from machine import cpu_seconds, describe, memory_mb, saturation, verdict
from processes import HERE, Processes

SERVICES = 20
REACH_SIZE = (2000, 200)
REACH_CPU, REACH_P99_MS = 0.6, 300.0
BROKEN_P99_MS, BROKEN_RATE = 1000.0, 0.95
LATE_S = 5.0
HEAD = (
    f"{'streams':>8} {'clients':>8} {'calling':>8} {'reports/s':>10} {'tables/s':>9}"
    f" {'shares/s':>9} {'CPU':>5} {'MB':>5} {'changes':>8} {'missed':>7} {'p50 ms':>7}"
    f" {'p99 ms':>7} {'load CPU':>12}"
)


def wait_ready(process: subprocess.Popen[str]) -> None:
    """Wait until a load process has opened all of its streams."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        raise RuntimeError(f"a load process died: {line!r}")


def latencies_ms(
    flips: list[tuple[str, bool, float]],
    seen: list[tuple[str, bool, float, int]],
    subsets: list[list[str]],
) -> tuple[list[float], int]:
    """Return how long each change took to each client that holds the node, and how many never."""
    holders: dict[str, list[int]] = defaultdict(list)
    for number, subset in enumerate(subsets):
        for node_id in subset:
            holders[node_id].append(number)
    at: dict[tuple[str, bool, int], list[float]] = defaultdict(list)
    for node_id, sick, seen_at, number in seen:
        at[node_id, sick, number].append(seen_at)
    next_flip: dict[str, float] = {}
    found, missed = [], 0
    for node_id, sick, sent_at in sorted(flips, key=lambda flip: -flip[2]):
        # A change undone within a second may rightly be skipped: clients get the newest state.
        undone_at = next_flip.get(node_id, math.inf)
        next_flip[node_id] = sent_at
        if undone_at - sent_at < 1.5:
            continue
        for number in holders[node_id]:
            times = at[node_id, sick, number]
            place = bisect_left(times, sent_at)
            if place < len(times) and times[place] < undone_at:
                found.append((times[place] - sent_at) * 1000)
            else:
                missed += 1
    return sorted(found), missed


def measure(streams: int, clients: int, call: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Run one size and return its figures."""
    with Processes() as processes:
        controller, process = processes.controller()
        options = json.dumps(
            {
                "streams": streams, "clients": clients, "call": call, "services": SERVICES,
                "per_connection": args.per_connection, "flips_per_s": args.flips,
                "late_s": min(LATE_S, args.seconds),
            }
        )  # fmt: skip
        load = []
        for role in ("sidecars", "clients"):
            one = processes.python(HERE / f"control_{role}.py", controller, options, talk=True)
            wait_ready(one)
            load.append(one)
        starts_at = time.monotonic() + args.settle
        for one in load:
            assert one.stdin is not None
            one.stdin.write(f"{starts_at} {starts_at + args.seconds}\n")
            one.stdin.flush()
        time.sleep(max(0.0, starts_at - time.monotonic()))
        used = cpu_seconds(process.pid)
        psutil.cpu_percent()
        time.sleep(max(0.0, starts_at + args.seconds - time.monotonic()))
        cpu = (cpu_seconds(process.pid) - used) / args.seconds
        machine = psutil.cpu_percent() / 100
        memory = memory_mb(process.pid)
        told = [json.loads(one.stdout.readline()) for one in load if one.stdout is not None]
    side, client = told
    found, missed = latencies_ms(side["flips"], client["seen"], client["subsets"])
    return {
        "streams": streams, "clients": clients, "calling": call, "seconds": args.seconds,
        "reports_per_s": side["reports"] / args.seconds,
        "call_reports_per_s": client["reports"] / args.seconds,
        "tables_per_s": client["tables"] / args.seconds,
        "shares_per_s": client["shares"] / args.seconds,
        "controller_cpu": cpu, "controller_rss_mb": memory[0], "controller_uss_mb": memory[1],
        "machine_cpu": machine, "sidecars_cpu": side["cpu"], "clients_cpu": client["cpu"],
        "sidecars_late_p99_ms": side["late_p99_s"] * 1000,
        "streams_ended": side["ended"] + client["ended"],
        "ended_of": side["broken"] + client["broken"],
        "changes": len(found), "missed": missed,
        "p50_ms": found[len(found) // 2] if found else math.nan,
        "p99_ms": found[int(len(found) * 0.99)] if found else math.nan,
        "most_ms": found[-1] if found else math.nan,
    }  # fmt: skip


def row(one: dict[str, Any]) -> str:
    """Return one size's figures as a line."""
    load = f"{one['sidecars_cpu']:.0%} + {one['clients_cpu']:.0%}"
    notes = [saturation(one["machine_cpu"])]
    if one["streams_ended"]:
        notes.append(
            f"{one['streams_ended']} streams ended: {' '.join(one['ended_of'][0].split())}"
        )
    return (
        f"{one['streams']:8} {one['clients']:8} {'yes' if one['calling'] else 'no':>8}"
        f" {one['reports_per_s']:10.0f} {one['tables_per_s']:9.0f} {one['shares_per_s']:9.0f}"
        f" {one['controller_cpu']:5.0%} {one['controller_rss_mb']:5.0f} {one['changes']:8}"
        f" {one['missed']:7} {one['p50_ms']:7.0f} {one['p99_ms']:7.0f} {load:>12}"
        f"  {'; '.join(note for note in notes if note)}"
    ).rstrip()


def broken(one: dict[str, Any]) -> str | None:
    """Return why a size is more than the controller carries; None: it is not."""
    if one["streams_ended"]:
        return f"{one['streams_ended']} streams ended"
    if one["missed"] > 0.01 * (one["missed"] + one["changes"]):
        return f"{one['missed']} changes never arrived"
    if not one["p99_ms"] <= BROKEN_P99_MS:
        return f"changes take {one['p99_ms']:.0f} ms"
    if one["reports_per_s"] < BROKEN_RATE * one["streams"]:
        return f"only {one['reports_per_s']:.0f} reports a second get through"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", nargs="+", metavar="SxW",
        default=["1000x100", "2000x200", "3000x300", "4000x400", "6000x600", "8000x800"],
    )  # fmt: skip
    parser.add_argument("--calling", choices=("no", "yes", "both"), default="both",
                        help="whether clients report calls of their own too")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=30, help="counted, a size")
    parser.add_argument("--settle", type=float, default=10, help="not counted")
    parser.add_argument("--flips", type=float, default=2, help="health changes a second")
    parser.add_argument("--per-connection", type=int, default=1, help="streams a connection")
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.seconds, args.settle, args.calling = ["60x20"], 3.0, 0.5, "yes"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file, at both ends
    print(f"{describe()}\n\n{HEAD}", flush=True)
    runs, lines = [], []
    modes = {"no": (False,), "yes": (True,), "both": (False, True)}[args.calling]
    for call in modes:
        for size in args.sizes:
            streams, clients = (int(part) for part in size.split("x"))
            one = measure(streams, clients, call, args)
            runs.append(one)
            print(row(one), flush=True)
            if (streams, clients) == REACH_SIZE:
                what = f"{size}, clients {'calling' if call else 'watching'}"
                lines.append(verdict(f"{what}, part of a core", one["controller_cpu"], REACH_CPU))
                lines.append(verdict(f"{what}, p99 ms", one["p99_ms"], REACH_P99_MS))
            why = broken(one)
            if why:
                lines.append(
                    f"{'calling' if call else 'watching'} clients: breaks at {size}: {why}"
                )
                break
    print("\n" + "\n".join(lines))
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "runs": runs}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
