"""How soon scaling reacts: from a step in load to the order, and from healthy to the first call.

Step: one node has a quarter of the calls that it is to have at once; then ten times as many as it
is to have come at once. Counted until the target is higher, and until the actuator has its order.
Healthy: a server prints when it serves, and when its first call comes, both beside others that
serve and where calls wait since there is none. All programs are processes of their own, whose
clocks are the machine's; each round has a fresh controller.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe, verdict
from processes import HERE, Processes
from scaled import Scaled, serving

TARGET = 4
CALM, STEP = 1, 10 * TARGET
POLICY = {"min": 0, "max": 20}
RULES = f"""
[[service.bench.scale.rules]]
kind = "reserve"
signal = "in_flight"
target = {TARGET}
"""
CALM_S = 12.0
"""Long enough for the panic window to be full of calm."""
START_S = 5.0
"""Longer than a sidecar takes to start, as any model does."""
REACH_ORDER_S, REACH_CALL_S = 1.0, 0.3


def one_round(calm_s: float) -> dict[str, Any]:
    """Run one round; return its figures, in seconds."""
    with tempfile.TemporaryDirectory() as name, Processes() as processes:
        folder = Path(name)
        with Scaled(processes, folder, POLICY, RULES, START_S) as scaled:
            scaled.set(1)
            scaled.until("one node", lambda s: serving(s) == 1 == s.ready_count)
            caller = processes.python(
                HERE / "reaction_caller.py", scaled.address, CALM, STEP, quiet=False, talk=True
            )
            assert caller.stdin is not None
            assert caller.stdout is not None
            if caller.stdout.readline() != "calls\n":
                raise RuntimeError("the caller could not call")
            scaled.set(None)
            time.sleep(calm_s)
            changes = scaled.watch()
            next(changes)
            caller.stdin.write("step\n")
            caller.stdin.flush()
            began = float(caller.stdout.readline())
            target_s, order_s, target = ordered(changes, began)
            scaled.until("the new nodes", lambda s: serving(s) >= target)
            more = until_called(scaled, target)
            scaled.set(0)
            scaled.until("no node", lambda s: not s.replicas)
            scaled.set(1)
            scaled.until("a node", lambda s: serving(s) == 1)
            first = until_called(scaled, target + 1)[-1]
            if caller.poll() is not None:
                raise RuntimeError("a call failed")
            caller.kill()
    return {
        "target_s": target_s, "order_s": order_s, "target": target,
        "healthy_to_call_s": more[1:], "from_none_to_call_s": first,
    }  # fmt: skip


def ordered(changes: Iterator[Any], began: float) -> tuple[float, float, int]:
    """Return the seconds from the step to a higher target and to the order, and the target."""
    target_s = None
    for status in changes:
        if status.target_count > 1 and target_s is None:
            target_s = time.time() - began
        starting = [r.state_time.ToNanoseconds() / 1e9 for r in status.replicas]
        if len(starting) > 1:
            return target_s or 0.0, sorted(starting)[1] - began, status.target_count
    raise RuntimeError("the controller ended the watch")


def until_called(scaled: Scaled, servers: int) -> list[float]:
    """Wait until so many servers ever have been called; return how long each waited, in order."""
    give_up = time.monotonic() + 60
    while True:
        told = []
        for path in (scaled.folder / "logs").glob("*.server.log"):
            words = dict(line.split() for line in path.read_text().splitlines())
            if "called" in words:
                told.append((float(words["serves"]), float(words["called"])))
        if len(told) >= servers:
            return [called - serves for serves, called in sorted(told)]
        if time.monotonic() > give_up:
            raise TimeoutError(f"{len(told)} of {servers} servers were called")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a look: one short round")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    print(describe())
    rounds = [one_round(3.0 if args.quick else CALM_S)
              for _ in range(1 if args.quick else args.rounds)]  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"rounds": rounds}, indent=1))
    print(f"{len(rounds)} rounds, from {CALM} calls at once to {STEP}, {TARGET} a node; "
          "median (least to most), ms\n")  # fmt: skip
    found = {
        "step to target": [r["target_s"] for r in rounds],
        "step to order": [r["order_s"] for r in rounds],
        "healthy to first call, beside others": [s for r in rounds for s in r["healthy_to_call_s"]],
        "healthy to first call, from none": [r["from_none_to_call_s"] for r in rounds],
    }
    for what, seconds in found.items():
        print(f"{what:38}{1000 * median(seconds):7.0f} ({1000 * min(seconds):.0f} to "
              f"{1000 * max(seconds):.0f})")  # fmt: skip
    print()
    for what, seconds in found.items():
        reach = REACH_ORDER_S if "step" in what else REACH_CALL_S
        print(verdict(f"{what}, s", median(seconds), reach))
    return 0


if __name__ == "__main__":
    sys.exit(main())
