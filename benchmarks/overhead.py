"""What the stub adds to a call: unary echo beside two raw channels, in small alternating blocks.

Added time is the median over the runs of (stub - mean of the two raw ones), each a mean over a
run's ten blocks; the second raw channel and a wrapper that does nothing show what the machine's
noise makes of "nothing added". CPU is of this process alone, background threads included. What
choosing costs without a call is in ``pick.py``, which is run first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pick
import psutil
from machine import describe, verdict
from processes import Processes

import meshlb
import meshlb.aio

METHOD = "/plain.Plain/Serve"
CONCURRENT = 32
BLOCKS, BLOCKS_TOGETHER = 10, 4
REACH_ADDED_US = {"sync": 15.0, "asyncio": 30.0}
REACH_THROUGHPUT = 0.95
Cost = tuple[float, float]
"""Microseconds of wall time, and of this process's CPU, for one call."""


class Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per_call(self, calls: int) -> Cost:
        """Return the cost of each of so many calls."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return wall / calls * 1e6, cpu / calls * 1e6


def sync_block(call: Callable[[bytes], bytes], calls: int) -> Cost:
    """Call one after another."""
    clock = Clock()
    for _ in range(calls):
        call(b"x")
    return clock.per_call(calls)


async def aio_block(call: Callable[[bytes], Awaitable[bytes]], calls: int) -> Cost:
    """Call one after another."""
    clock = Clock()
    for _ in range(calls):
        await call(b"x")
    return clock.per_call(calls)


def sync_together(call: Callable[[bytes], bytes], calls: int) -> Cost:
    """Call from 32 threads."""
    each = max(1, calls // CONCURRENT)

    def work() -> None:
        for _ in range(each):
            call(b"x")

    threads = [threading.Thread(target=work) for _ in range(CONCURRENT)]
    clock = Clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clock.per_call(each * CONCURRENT)


async def aio_together(call: Callable[[bytes], Awaitable[bytes]], calls: int) -> Cost:
    """Call from 32 tasks."""
    each = max(1, calls // CONCURRENT)

    async def work() -> None:
        for _ in range(each):
            await call(b"x")

    clock = Clock()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return clock.per_call(each * CONCURRENT)


def turns(names: list[str], runs: int) -> list[list[str]]:
    """Return an order for each run, so that none is always first."""
    rng = random.Random(1)
    return [rng.sample(names, len(names)) for _ in range(runs)]


def mean_cost(parts: list[dict[str, Cost]]) -> dict[str, Cost]:
    """Return each contender's mean over the blocks of one run."""
    return {
        name: (
            statistics.fmean(part[name][0] for part in parts),
            statistics.fmean(part[name][1] for part in parts),
        )
        for name in parts[0]
    }


def report(kind: str, alone: list[dict[str, Cost]], together: list[dict[str, Cost]]) -> Any:
    """Print one world's figures, and return them."""

    def added(name: str, which: int) -> list[float]:
        return [r[name][which] - (r["raw"][which] + r["raw again"][which]) / 2 for r in alone]

    def speed(name: str) -> list[float]:
        return [(r["raw"][0] + r["raw again"][0]) / 2 / r[name][0] for r in together]

    median = statistics.median
    found: dict[str, Any] = {
        "raw_us": median(r["raw"][0] for r in alone),
        "raw_cpu_us": median(r["raw"][1] for r in alone),
        "raw_calls_per_s_together": 1e6 / median(r["raw"][0] for r in together),
    }
    print(
        f"\n{kind}: a raw call takes {found['raw_us']:.0f} us, {found['raw_cpu_us']:.0f} us of it "
        f"this process's CPU; {CONCURRENT} at once: {found['raw_calls_per_s_together']:.0f} calls/s"
    )
    print(f"{'':12} {'added us':>9} {'least .. most':>17} {'added CPU us':>13} {'throughput':>11}")
    for name in ("raw again", "wrapper", "meshlb"):
        one = added(name, 0)
        found[name] = {
            "added_us": median(one),
            "added_us_least": min(one),
            "added_us_most": max(one),
            "added_cpu_us": median(added(name, 1)),
            "throughput_ratio": median(speed(name)),
        }
        print(
            f"{name:12} {median(one):9.1f} {min(one):7.1f} .. {max(one):6.1f}"
            f" {found[name]['added_cpu_us']:13.1f} {found[name]['throughput_ratio']:11.3f}"
        )
    ours = found["meshlb"]
    print(verdict(f"{kind}, added us", ours["added_us"], REACH_ADDED_US[kind]))
    what = f"{kind}, throughput of {CONCURRENT} at once"
    print(verdict(what, ours["throughput_ratio"], REACH_THROUGHPUT, at_least=True), flush=True)
    return found


def measure_sync(mesh: str, node: str, runs: int, calls: int) -> Any:
    """Measure the stub for threads."""
    with (
        meshlb.insecure_channel(mesh) as stub,
        grpc.insecure_channel(node) as raw,
        grpc.insecure_channel(node, [("grpc.use_local_subchannel_pool", 1)]) as again,
    ):
        plain: Any = raw.unary_unary(METHOD)

        def wrapper(request: bytes) -> Any:
            return plain(request)

        all_: dict[str, Any] = {
            "raw": plain,
            "raw again": again.unary_unary(METHOD),
            "wrapper": wrapper,
            "meshlb": stub.unary_unary(METHOD),
        }
        for call in all_.values():
            sync_block(call, calls)
        alone = [
            mean_cost(
                [{n: sync_block(all_[n], calls // BLOCKS) for n in order} for _ in range(BLOCKS)]
            )
            for order in turns(list(all_), runs)
        ]
        together = [
            mean_cost(
                [{n: sync_together(all_[n], calls) for n in order} for _ in range(BLOCKS_TOGETHER)]
            )
            for order in turns(list(all_), runs)
        ]
    return report("sync", alone, together)


async def measure_aio(mesh: str, node: str, runs: int, calls: int) -> Any:
    """Measure the stub for asyncio."""
    async with (
        meshlb.aio.insecure_channel(mesh) as stub,
        grpc.aio.insecure_channel(node) as raw,
        grpc.aio.insecure_channel(node, [("grpc.use_local_subchannel_pool", 1)]) as again,
    ):
        plain: Any = raw.unary_unary(METHOD)

        async def wrapper(request: bytes) -> Any:
            return await plain(request)

        all_: dict[str, Any] = {
            "raw": plain,
            "raw again": again.unary_unary(METHOD),
            "wrapper": wrapper,
            "meshlb": stub.unary_unary(METHOD),
        }
        for call in all_.values():
            await aio_block(call, calls)
        alone, together = [], []
        for order in turns(list(all_), runs):
            parts = [
                {n: await aio_block(all_[n], calls // BLOCKS) for n in order} for _ in range(BLOCKS)
            ]
            alone.append(mean_cost(parts))
        for order in turns(list(all_), runs):
            parts = [
                {n: await aio_together(all_[n], calls) for n in order}
                for _ in range(BLOCKS_TOGETHER)
            ]
            together.append(mean_cost(parts))
    return report("asyncio", alone, together)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--calls", type=int, default=1000, help="a run, of each contender")
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.calls = 2, 40
    print(describe())
    found: dict[str, Any] = {"machine": describe(), "runs": args.runs, "calls": args.calls}
    found["pick"] = pick.measure([8, 64, 1000], args.runs, args.calls * 20)
    with Processes() as processes:
        ports = processes.servers([0.0], 1)
        controller, _ = processes.controller()
        processes.sidecars(controller, "bench", ports, None)
        mesh, node = f"mesh://{controller}/bench", f"127.0.0.1:{ports[0]}"
        psutil.cpu_percent()
        found["sync"] = measure_sync(mesh, node, args.runs, args.calls)
        found["asyncio"] = asyncio.run(measure_aio(mesh, node, args.runs, args.calls))
        # One call at a time waits for the other process, so this is no sign of a crowded machine.
        found["cpu"] = psutil.cpu_percent() / 100
        print(f"\nall cores: {found['cpu']:.0%} in use")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
