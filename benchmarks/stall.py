"""How many calls succeed while one of 11 backends stalls: Linkerd's experiment.

11 plain servers (10 ms on average), 60 s of calls with a deadline of 1 s; from second 15 to 45 each
call at one of them takes 2 s, so all of these miss it. The rate is fitted to a machine of 2 cores.
Published for round robin, least loaded and peak EWMA: 95 %, 99 % and 99.9 % (linkerd.io, "Beyond
round robin", 2016; 1,000 calls/s there).
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
from callers import Result, open_channel, run
from envoy import one_each
from faults import service_config
from machine import describe, verdict
from processes import HERE, Processes

SERVERS, MEAN_MS, STALL_S = 11, 10.0, 2.0
CLIENTS, DEADLINE_S, WARM_UP_S = 2, 1.0, 5.0
Channels = Callable[[Processes, list[int]], Callable[[int], grpc.aio.Channel]]


def round_robin(_: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
    """Call through gRPC's own policy."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options = [("grpc.lb_policy_name", "round_robin")]
    return lambda _: grpc.aio.insecure_channel(target, options)


def envoy(processes: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
    """Call through one Envoy a client, LEAST_REQUEST."""
    listen = one_each(processes, ports, CLIENTS)
    return lambda number: grpc.aio.insecure_channel(f"127.0.0.1:{listen[number]}")


def meshlb(*options: tuple[str, str]) -> Channels:
    """Return how to start a controller and a sidecar a server, and call through the stub."""

    def start(processes: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
        controller, _ = processes.controller()
        processes.sidecars(controller, "bench", ports, None)
        import meshlb.aio

        return lambda _: meshlb.aio.insecure_channel(f"mesh://{controller}/bench", options)

    return start


IDEMPOTENT = service_config(idempotent=True)
HEDGED = service_config(hedgingPolicy={"maxAttempts": 2})
CONTENDERS: dict[str, tuple[Channels, float | None]] = {
    "gRPC round_robin": (round_robin, None),
    "Envoy LEAST_REQUEST": (envoy, None),
    "meshlb round_robin": (meshlb(("meshlb.picker", "round_robin")), None),
    "meshlb least_request": (meshlb(("meshlb.picker", "least_request")), None),
    "meshlb": (meshlb(), 0.999),
    "meshlb, idempotent": (meshlb(*IDEMPOTENT), 0.9999),
    "meshlb, hedged": (meshlb(*HEDGED), 0.9999),
}
"""How each calls, and the part of its calls that is to succeed."""


def measure(name: str, args: argparse.Namespace) -> list[Result]:
    """Run one contender; return its calls, the warm-up's left out."""
    with Processes() as processes:
        servers = processes.python(HERE / "stalling_servers.py", MEAN_MS, SERVERS, talk=True)
        assert servers.stdout is not None
        assert servers.stdin is not None
        ports = [int(port) for port in servers.stdout.readline().split()]
        make = CONTENDERS[name][0](processes, ports)

        def stall(seconds: float) -> None:
            print(0, seconds, file=servers.stdin, flush=True)

        def began(start_at: float) -> None:
            for part, seconds in ((0.25, STALL_S), (0.75, 0.0)):
                wait_s = start_at + WARM_UP_S + part * args.seconds - time.monotonic()
                timer = threading.Timer(wait_s, stall, (seconds,))
                timer.daemon = True
                timer.start()

        open_ = open_channel(make, DEADLINE_S)
        results = run(open_, CLIENTS, args.rate, WARM_UP_S + args.seconds, args.seed, began)
    return [one for one in results if one[0] >= WARM_UP_S]


def figures(results: list[Result]) -> dict[str, Any]:
    """Return what is told of one contender."""
    errors = Counter(error for _, _, error in results if error)
    ordered = sorted(latency for _, latency, _ in results)
    return {
        "calls": len(results),
        "failed": errors.total(),
        "succeeded": 1 - errors.total() / len(results),
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[int(0.99 * len(ordered))],
        "most_failed_of": errors.most_common(1)[0][0] if errors else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.seconds = 4.0
        args.contenders = ["meshlb, idempotent"]
    print(f"{describe()}\n{args.rate:g} calls/s for {args.seconds:g} s\n", flush=True)
    head = f"{'contender':22}{'calls':>8}{'failed':>8}{'succeeded':>11}{'p50 ms':>8}{'p99 ms':>8}"
    print(head, flush=True)
    found, lines = {}, []
    for name in args.contenders:
        one = found[name] = figures(measure(name, args))
        print(f"{name:22}{one['calls']:8}{one['failed']:8}{one['succeeded']:11.3%}"
              f"{one['p50_ms']:8.1f}{one['p99_ms']:8.1f}  {one['most_failed_of'][:60]}",
              flush=True)  # fmt: skip
        reach = CONTENDERS[name][1]
        if reach is not None:
            lines.append(verdict(f"{name}: part that failed", 1 - one["succeeded"], 1 - reach))
    print("\n" + "\n".join(lines))
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "contenders": found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
