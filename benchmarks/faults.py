"""Calls that fail when one of four servers dies, or freezes: meshlb beside gRPC and Envoy.

4 plain servers of 8 slots and 40 ms, 200 calls/s from 4 client processes, deadline 2 s. After a
calm phase one server is killed (kill -9) and comes back 4 s later, or is stopped (SIGSTOP) for 6 s,
or is stopped and let run for 0.4 s each in turn.
A fault's phase is all calls that were due from the fault until one deadline after its end.
Caught is a call that failed, or that was answered only once the frozen server ran again; the last
of them tells how long calls went there.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
from callers import METHOD, Open, Result, open_channel, run
from envoy import one_each
from machine import describe, verdict
from processes import HERE, Processes, free_port, wait_for_port

SERVERS, SLOTS, SERVICE_MS = 4, 8, -40.0
RATE, CLIENTS, DEADLINE_S = 200.0, 4, 2.0
FAULTS = {"kill": 4.0, "freeze": 6.0, "flap": 6.0}
"""How long each lasts, in seconds."""
FLAP_S = 0.4
SURELY_S = 0.3
"""A call that takes longer than that waited for the frozen server."""
MOST_OF_FROZEN, MOST_P99 = 0.02, 3.0
Channels = Callable[[Processes, list[int]], Callable[[int], grpc.aio.Channel]]


def service_config(**method: Any) -> tuple[tuple[str, str], ...]:
    """Return the option of a channel that says this of the servers' methods."""
    entry = {"name": [{"service": METHOD.split("/")[1]}], **method}
    return (("grpc.service_config", json.dumps({"methodConfig": [entry]})),)


HEAD = (
    f"{'contender':20} {'calm p99 ms':>12} {'calls':>7} {'failed':>7} {'p99 ms':>8} {'to calm':>8}"
    f" {'caught':>7} {'last begun after s':>19}  failed most of"
)


def round_robin(_: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
    """Call through gRPC's own policy."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options = [("grpc.lb_policy_name", "round_robin")]
    return lambda _: grpc.aio.insecure_channel(target, options)


def envoy(processes: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
    """Call through one Envoy a client, LEAST_REQUEST, without health checks."""
    listen = one_each(processes, ports, CLIENTS)
    return lambda number: grpc.aio.insecure_channel(f"127.0.0.1:{listen[number]}")


def meshlb(options: tuple[tuple[str, str], ...] = ()) -> Channels:
    """Return how to start a controller and a sidecar a server, and call through the stub."""

    def start(processes: Processes, ports: list[int]) -> Callable[[int], grpc.aio.Channel]:
        controller, _ = processes.controller()
        processes.sidecars(controller, "bench", ports, None)
        import meshlb.aio

        return lambda _: meshlb.aio.insecure_channel(f"mesh://{controller}/bench", options)

    return start


CONTENDERS: dict[str, Channels] = {
    "round_robin": round_robin,
    "envoy": envoy,
    "meshlb": meshlb(),
    "meshlb, idempotent": meshlb(service_config(idempotent=True)),
    "meshlb, hedged": meshlb(service_config(hedgingPolicy={"maxAttempts": 2})),
}


class Fleet:
    """The servers, each of which can be killed and started again where it was."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.ports = [free_port() for _ in range(SERVERS)]
        self.servers = [self._start(number) for number in range(SERVERS)]

    def _start(self, number: int) -> subprocess.Popen[str]:
        port = self.ports[number]
        one = self._processes.python(HERE / "plain_server.py", SERVICE_MS, SLOTS, number, port)
        wait_for_port(port)
        return one

    def fault(self, kind: str, seconds: float) -> None:
        """Let the first server fail for so long; returns at its end."""
        one = self.servers[0]
        if kind == "flap":
            for _ in range(round(seconds / (2 * FLAP_S))):
                one.send_signal(signal.SIGSTOP)
                time.sleep(FLAP_S)
                one.send_signal(signal.SIGCONT)
                time.sleep(FLAP_S)
            return
        one.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        time.sleep(seconds)
        if kind == "kill":
            self.servers[0] = self._start(0)
        else:
            one.send_signal(signal.SIGCONT)


def measure(name: str, kind: str, args: argparse.Namespace) -> tuple[list[Result], list[Result]]:
    """Run one contender through one fault; return the calls of the calm phase and the fault's."""
    calm_s, fault_s = args.warm_up + args.calm, FAULTS[kind]
    with Processes() as processes:
        fleet = Fleet(processes)
        make = CONTENDERS[name](processes, fleet.ports)

        def began(start_at: float) -> None:
            wait_s = start_at + calm_s - time.monotonic()
            timer = threading.Timer(wait_s, fleet.fault, (kind, fault_s))
            timer.daemon = True
            timer.start()

        open_: Open = open_channel(make, DEADLINE_S)
        seconds = calm_s + fault_s + DEADLINE_S
        results = run(open_, CLIENTS, RATE, seconds, args.seed, began)
    calm = [one for one in results if args.warm_up <= one[0] < calm_s - DEADLINE_S]
    return calm, [one for one in results if one[0] >= calm_s]


def p99_ms(results: list[Result]) -> float:
    """Return the 99th percentile; failed calls count with the time that they took."""
    return 1e3 * sorted(latency for _, latency, _ in results)[int(0.99 * len(results))]


def figures(
    calm: list[Result], fault: list[Result], began_s: float, lasted_s: float
) -> dict[str, Any]:
    """Return what is told of one contender under one fault."""
    over_s = began_s + lasted_s
    caught = [
        at
        for at, latency, error in fault
        if error or (at < over_s - SURELY_S and at + latency >= over_s)
    ]
    errors = Counter(error for _, _, error in fault if error)
    return {
        "calm_p99_ms": p99_ms(calm),
        "calls": len(fault),
        "failed": errors.total(),
        "failed_calm": sum(1 for _, _, error in calm if error),
        "most_failed_of": errors.most_common(1)[0][0] if errors else "",
        "p99_ms": p99_ms(fault),
        "caught": len(caught),
        "last_caught_s": max(caught) - began_s if caught else None,
    }


def judge(kind: str, name: str, one: dict[str, Any]) -> list[str]:
    """Return what is to be reached, and whether it was."""
    if name in ("meshlb, idempotent", "meshlb, hedged"):
        lines = [verdict(f"{kind}, {name}: failed", one["failed"], 0)]
        if kind == "freeze" and name == "meshlb, hedged":
            ratio = one["p99_ms"] / one["calm_p99_ms"]
            lines.append(verdict(f"{kind}, {name}: p99 to calm", ratio, MOST_P99))
        return lines
    if name == "meshlb" and kind == "freeze":
        return [verdict(f"{kind}, {name}: failed", one["failed"], MOST_OF_FROZEN * one["calls"])]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=["kill", "freeze"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--calm", type=float, default=8, help="seconds, counted, before the fault")
    parser.add_argument("--warm-up", type=float, default=5, help="not counted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.calm, args.warm_up = 3.0, 0.5
        FAULTS.update(kill=1.0, freeze=1.0, flap=1.6)
    print(describe(), flush=True)
    found: dict[str, dict[str, Any]] = {}
    for kind in args.faults:
        print(f"\n{kind} for {FAULTS[kind]:g} s\n{HEAD}", flush=True)
        lines = []
        for name in args.contenders:
            began_s = args.warm_up + args.calm
            one = figures(*measure(name, kind, args), began_s, FAULTS[kind])
            found.setdefault(kind, {})[name] = one
            last = one["last_caught_s"]
            print(
                f"{name:20} {one['calm_p99_ms']:12.0f} {one['calls']:7} {one['failed']:7}"
                f" {one['p99_ms']:8.0f} {one['p99_ms'] / one['calm_p99_ms']:8.1f}"
                f" {one['caught']:7} {'-' if last is None else f'{last:.2f}':>19}"
                f"  {one['most_failed_of'][:100]}",
                flush=True,
            )
            lines += judge(kind, name, one)
        print("\n".join(lines), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "faults": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
