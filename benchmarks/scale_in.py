"""A thousand scale-ins under load, and what they break.

A controller starts and stops plain gRPC servers with their sidecars (actuator ``process``, state in
a file), while caller processes stream through meshlb stubs, with threads and asyncio, all the time;
others hold streams over plain gRPC channels of their own, which the controller only sees as
connections. The count is set down and up by ``ScaleService.SetScale``, several nodes at once.
SIGTERM ends a server at once, so every call in flight there would break. Every stream's messages
are numbered, and the last one says so. Now and then the order is changed half way: nodes that drain
take calls again, and nodes that have just begun, or have not yet, go.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe, verdict
from processes import HERE, Processes
from scaled import Scaled, serving

MOST, LEAST = 14, 2
CALLERS = (("threads", 8), ("asyncio", 12), ("threads", 8), ("asyncio", 12), ("stock", 2))
"""Kind and calls at once of each caller process."""
POLICY = {"min": 0, "max": 20}
DRAINS_S, STARTS_S = 0.7, (0.5, 5.0)
"""When the order is changed half way."""


class ScaleIns:
    """Counts nodes that took calls and are gone by order."""

    def __init__(self, scaled: Scaled) -> None:
        self._scaled = scaled
        self._seen: set[str] = set()
        self.done = 0

    def move(self, count: int) -> None:
        """Set the count, and wait until so many take calls and nothing else is there."""
        self._scaled.set(count)
        status = self._scaled.until(
            f"{count} replicas",
            lambda s: serving(s) == count == len(s.replicas) == s.ready_count,
        )
        there = {replica.replica_id for replica in status.replicas}
        self.done += len(self._seen - there)
        self._seen = there


def log_figures(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the controller's log says of stops."""
    stops = [e["step"] for e in events if e["event"] == "scale_step" and
             e["step"].startswith("stop ")]  # fmt: skip
    drained = sum(1 for step in stops if step.endswith(": drained"))
    return {
        "stops_after_drain": drained,
        "other_stops": [step for step in stops if not step.endswith(": drained")],
        "replicas_lost": [e["reason"] for e in events if e["event"] == "replica_lost"],
        "restored": sum(1 for e in events if e.get("step", "").startswith("restore ")),
        "errors": [e for e in events if e.get("level") == "error"][:10],
    }


def measure(count: int, callers: tuple[tuple[str, int], ...], most: int) -> dict[str, Any]:
    """Run, and return all figures."""
    with tempfile.TemporaryDirectory() as name, Processes() as processes:
        folder = Path(name)
        with Scaled(processes, folder, POLICY) as scaled:
            ins = ScaleIns(scaled)
            ins.move(LEAST)
            calling = [
                (kind, processes.python(
                    HERE / "scale_in_caller.py", kind, scaled.address, lines, seed,
                    quiet=False, talk=True,
                ))
                for seed, (kind, lines) in enumerate(callers)
            ]  # fmt: skip
            began = told = time.monotonic()
            rng, cycles = random.Random(count), 0
            while ins.done < count:
                cycles += 1
                if cycles % 3 == 0:
                    scaled.set(most)
                    time.sleep(rng.uniform(*STARTS_S))
                    scaled.set(LEAST)
                    time.sleep(DRAINS_S)
                ins.move(most)
                if cycles % 3 == 2:
                    scaled.set(LEAST)
                    time.sleep(DRAINS_S)
                    scaled.set(LEAST + 3)
                for kind, one in calling:
                    if one.poll() is not None:
                        raise RuntimeError(f"a caller of kind {kind} ended by itself")
                ins.move(LEAST)
                now = time.monotonic()
                if now - told > 30 or ins.done >= count:
                    told = now
                    rate = ins.done / (now - began)
                    print(f"... {ins.done} scale-ins, {60 * rate:.0f} a minute", file=sys.stderr)
            elapsed_s = time.monotonic() - began
            tallies = [(kind, json.loads(one.communicate(timeout=200)[0])) for kind, one in calling]
            found = {"scale_ins": ins.done, "seconds": elapsed_s, "most": most}
            found |= log_figures(scaled.events())
    by_kind: dict[str, dict[str, Any]] = {}
    for kind, tally in tallies:
        known = by_kind.setdefault(kind, dict.fromkeys(tally, 0) | {"problems": []})
        for name, value in tally.items():
            known[name] += value
    return found | {"callers": by_kind}


def report(found: dict[str, Any], count: int) -> bool:
    """Print the figures; return whether all is as it is to be."""
    print(f"{found['scale_ins']} scale-ins in {found['seconds']:.0f} s, {found['most']} nodes to "
          f"{LEAST} and back; {found['stops_after_drain']} stopped after they were drained, "
          f"{found['restored']} took calls again before that\n")  # fmt: skip
    names = ("streams", "messages", "calls", "dropped", "broken", "failed", "late")
    print(f"{'callers':10}" + "".join(f"{name:>11}" for name in names))
    for kind, tally in found["callers"].items():
        print(f"{kind:10}" + "".join(f"{tally[name]:11,}" for name in names))
        for problem in tally["problems"]:
            print(f"  {problem}")
    wrong = [*found["other_stops"], *found["replicas_lost"]]
    for line in wrong[:20]:
        print(f"  {line}")
    broken = sum(tally["broken"] for tally in found["callers"].values())
    failed = sum(tally["failed"] for tally in found["callers"].values())
    print()
    print(verdict("scale-ins", found["scale_ins"], count, at_least=True))
    print(verdict("broken streams", broken, 0))
    print(verdict("failed calls", failed, 0))
    print(verdict("nodes stopped otherwise than drained, by a limit or lost", len(wrong), 0))
    return not (broken or failed or wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="scale-ins (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a look: one cycle, few callers")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    print(describe())
    count = 1 if args.quick else args.count
    callers = (("threads", 3), ("asyncio", 3), ("stock", 1)) if args.quick else CALLERS
    found = measure(count, callers, 4 if args.quick else MOST)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0 if report(found, count) else 1


if __name__ == "__main__":
    sys.exit(main())
