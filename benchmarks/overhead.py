"""What the stub adds to a call: unary echo beside two raw channels, in small alternating blocks.

Added time is the median over the runs of (stub - mean of the two raw ones), each a mean over a
block's calls; the second raw channel and a wrapper that does nothing show what the machine's noise
makes of "nothing added".
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
from machine import describe
from processes import Processes

import meshlb
import meshlb.aio
from meshlb import plugins
from meshlb.client.routes import Outcome
from meshlb.model import SpeedCurve, TableNode
from meshlb.policy import zones
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad

METHOD = "/plain.Plain/Serve"
CONCURRENT = 32


def sync_block(call: Callable[[bytes], bytes], calls: int) -> float:
    """Return microseconds a call."""
    began = time.perf_counter()
    for _ in range(calls):
        call(b"x")
    return (time.perf_counter() - began) / calls * 1e6


async def aio_block(call: Callable[[bytes], Awaitable[bytes]], calls: int) -> float:
    """Return microseconds a call."""
    began = time.perf_counter()
    for _ in range(calls):
        await call(b"x")
    return (time.perf_counter() - began) / calls * 1e6


def sync_throughput(call: Callable[[bytes], bytes], calls: int) -> float:
    """Return calls a second from 32 threads."""

    def work() -> None:
        for _ in range(calls // CONCURRENT):
            call(b"x")

    threads = [threading.Thread(target=work) for _ in range(CONCURRENT)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls / (time.perf_counter() - began)


async def aio_throughput(call: Callable[[bytes], Awaitable[bytes]], calls: int) -> float:
    """Return calls a second from 32 tasks."""

    async def work() -> None:
        for _ in range(calls // CONCURRENT):
            await call(b"x")

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return calls / (time.perf_counter() - began)


def report(kind: str, blocks: list[dict[str, float]], rates: list[dict[str, float]]) -> Any:
    """Print one world's figures, and return them."""

    def added(name: str) -> float:
        return statistics.median(b[name] - (b["raw"] + b["raw again"]) / 2 for b in blocks)

    def ratio(name: str) -> float:
        return statistics.median(r[name] / ((r["raw"] + r["raw again"]) / 2) for r in rates)

    raw = statistics.median(b["raw"] for b in blocks)
    found = {
        "raw_us": raw,
        "added_us": added("meshlb"),
        "wrapper_added_us": added("wrapper"),
        "raw_again_ratio": statistics.median(b["raw again"] / b["raw"] for b in blocks),
        "throughput_ratio": ratio("meshlb"),
        "wrapper_throughput_ratio": ratio("wrapper"),
    }
    print(
        f"{kind}: raw {raw:.0f} us; meshlb adds {found['added_us']:.1f} us, a wrapper that does "
        f"nothing {found['wrapper_added_us']:.1f} us; raw against raw "
        f"{found['raw_again_ratio']:.3f}\n{kind}: throughput at {CONCURRENT} calls at once, to "
        f"raw: meshlb {found['throughput_ratio']:.3f}, wrapper "
        f"{found['wrapper_throughput_ratio']:.3f}"
    )
    return found


def alternate(names: list[str], runs: int) -> list[list[str]]:
    """Return an order for each run, so that none is always first."""
    rng = random.Random(1)
    return [rng.sample(names, len(names)) for _ in range(runs)]


def measure_sync(mesh: str, node: str, runs: int, calls: int) -> Any:
    """Measure the stub for threads."""
    with (
        meshlb.insecure_channel(mesh) as stub,
        grpc.insecure_channel(node) as raw,
        grpc.insecure_channel(node, [("grpc.use_local_subchannel_pool", 1)]) as again,
    ):
        plain = raw.unary_unary(METHOD)
        all_: dict[str, Any] = {
            "raw": plain,
            "raw again": again.unary_unary(METHOD),
            "wrapper": lambda request: plain(request),  # noqa: PLW0108 - the layer is the point
            "meshlb": stub.unary_unary(METHOD),
        }
        for call in all_.values():
            sync_block(call, calls)
        blocks = [
            _mean_of_parts(order, lambda n: sync_block(all_[n], calls // 10))
            for order in alternate(list(all_), runs)
        ]
        rates = [
            {n: sync_throughput(all_[n], calls * 2) for n in order}
            for order in alternate(list(all_), runs)
        ]
    return report("sync", blocks, rates)


def _mean_of_parts(order: list[str], block: Callable[[str], float]) -> dict[str, float]:
    """Return the mean of ten small blocks each, taken in turns, so that noise hits all alike."""
    parts = [{name: block(name) for name in order} for _ in range(10)]
    return {name: statistics.fmean(part[name] for part in parts) for name in order}


async def measure_aio(mesh: str, node: str, runs: int, calls: int) -> Any:
    """Measure the stub for asyncio."""
    async with (
        meshlb.aio.insecure_channel(mesh) as stub,
        grpc.aio.insecure_channel(node) as raw,
        grpc.aio.insecure_channel(node, [("grpc.use_local_subchannel_pool", 1)]) as again,
    ):
        plain = raw.unary_unary(METHOD)

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
        blocks = []
        for order in alternate(list(all_), runs):
            parts = [{n: await aio_block(all_[n], calls // 10) for n in order} for _ in range(10)]
            blocks.append({n: statistics.fmean(part[n] for part in parts) for n in order})
        rates = [
            {n: await aio_throughput(all_[n], calls * 2) for n in order}
            for order in alternate(list(all_), runs)
        ]
    return report("asyncio", blocks, rates)


def pick_alone(nodes: int, calls: int) -> dict[str, float]:
    """Return microseconds of the default pick over so many nodes."""
    rng = random.Random(1)
    candidates = []
    for number in range(nodes):
        base = rng.choice([0.04, 0.08, 0.16])
        curve = SpeedCurve(base, base / 4, 4)
        load = NodeLoad()
        load.in_flight, load.others = rng.randrange(3), float(rng.randrange(5))
        candidates.append(
            Candidate(TableNode(f"n{number}", 1, f"h{number}:1", curve=curve, slots=4), load)
        )
    client = ClientLoad()
    client.in_flight, client.share = 5, 0.1
    found = {}
    for name in plugins.names("meshlb.policy.pickers"):
        module = plugins.load("meshlb.policy.pickers", name)
        picker = zones.build(module.build, candidates, client, rng, module.Params(), "")
        pick, times = picker.pick, []
        for _ in range(5):
            began = time.perf_counter()
            for number in range(calls):
                pick(number * 1e-3)
            times.append((time.perf_counter() - began) / calls * 1e6)
        found[name] = statistics.median(times)
    return found


def begin_and_end(mesh: str, calls: int) -> float:
    """Return microseconds of all that the stub does for a call besides gRPC."""
    with meshlb.insecure_channel(mesh) as stub:
        stub.unary_unary(METHOD)(b"x")
        view, routes = stub._view, stub._group.routes  # type: ignore[attr-defined]
        began = time.perf_counter()
        for number in range(calls):
            now = began + number * 1e-6
            node, found = view.begin(now)
            routes.end(node, found, 0.001, Outcome.OK, now)
        return (time.perf_counter() - began) / calls * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--calls", type=int, default=1000, help="a block")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(describe())
    found: dict[str, Any] = {"machine": describe()}
    for nodes in (64, 1000):
        found[f"pick_{nodes}_us"] = picks = pick_alone(nodes, args.calls * 5)
        listed = ", ".join(f"{name} {us:.2f}" for name, us in picks.items())
        print(f"pick alone, {nodes} nodes, us: {listed}")
    with Processes() as processes:
        ports = processes.servers([0.0], 1)
        controller, _ = processes.controller()
        processes.sidecars(controller, "bench", ports, None)
        mesh, node = f"mesh://{controller}/bench", f"127.0.0.1:{ports[0]}"
        found["begin_and_end_us"] = begin_and_end(mesh, args.calls * 5)
        print(f"begin and end of a call, without gRPC: {found['begin_and_end_us']:.1f} us")
        found["sync"] = measure_sync(mesh, node, args.runs, args.calls)
        found["asyncio"] = asyncio.run(measure_aio(mesh, node, args.runs, args.calls))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
