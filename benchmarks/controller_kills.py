"""A controller that is killed every 5 s: calls that fail, and what it does to the 99th percentile.

The load of ``faults.py``: 4 plain servers of 8 slots and 40 ms, 100 calls/s from 4 client
processes, deadline 2 s. In every second block of 30 s the only controller is killed (kill -9) every
5 s and started again at once, at its old address and knowing nothing; in the blocks between it is
left alone. So both halves are the same run, on the same machine, minute by minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from callers import Result, open_channel, run
from faults import SERVERS, SERVICE_MS, SLOTS, p99_ms
from machine import describe, verdict
from processes import Processes

RATE, CLIENTS, DEADLINE_S = 100.0, 4, 2.0
BLOCK_S, EVERY_S = 30.0, 5.0
REST_S = 5.0
"""Of an undisturbed block that is not counted, since the last start is still under way."""
WARM_UP_S = 5.0
MOST_P99 = 1.2


def disturbed(at_s: float, block_s: float) -> bool | None:
    """Return whether a call due then falls into a block of kills; None: into neither."""
    since_s = at_s - WARM_UP_S
    if since_s < 0:
        return None
    block, into_s = divmod(since_s, 2 * block_s)
    if into_s >= block_s:
        return True
    return None if block and into_s < min(REST_S, block_s / 3) else False


class Killer:
    """Kills the controller in its blocks, in a thread."""

    def __init__(self, processes: Processes, block_s: float, every_s: float) -> None:
        self._processes = processes
        self._block_s, self._every_s = block_s, every_s
        self.controller, self._process = processes.controller()
        self.kills = 0

    def start(self, start_at: float, seconds: float) -> None:
        """Begin, for a run that starts at an instant of the monotonic clock."""
        threading.Thread(target=self._run, args=(start_at, seconds), daemon=True).start()

    def _run(self, start_at: float, seconds: float) -> None:
        at_s = WARM_UP_S
        while at_s < seconds:
            time.sleep(max(0.0, start_at + at_s - time.monotonic()))
            if disturbed(at_s, self._block_s):
                self._process.kill()
                self._process.wait()
                self._process = self._processes.python(
                    "-m", "meshlb.cli", "controller", "--listen", self.controller,
                    "--log-level", "error",
                )  # fmt: skip
                self.kills += 1
            at_s += self._every_s


def measure(seconds: float, block_s: float, every_s: float, seed: int) -> dict[str, Any]:
    """Run, and return the figures of both halves."""
    with Processes() as processes:
        ports = processes.servers([SERVICE_MS] * SERVERS, SLOTS)
        killer = Killer(processes, block_s, every_s)
        processes.sidecars(killer.controller, "bench", ports, None)
        import meshlb.aio

        target = f"mesh://{killer.controller}/bench"
        open_ = open_channel(lambda _: meshlb.aio.insecure_channel(target), DEADLINE_S)
        results = run(
            open_, CLIENTS, RATE, WARM_UP_S + seconds, seed,
            lambda start_at: killer.start(start_at, WARM_UP_S + seconds),
        )  # fmt: skip
        kills = killer.kills
    halves: dict[bool, list[Result]] = {False: [], True: []}
    for one in results:
        half = disturbed(one[0], block_s)
        if half is not None:
            halves[half].append(one)
    return {"kills": kills} | {
        name: figures(halves[half]) for half, name in ((False, "undisturbed"), (True, "killed"))
    }


def figures(results: list[Result]) -> dict[str, Any]:
    """Return what is told of one half."""
    errors = Counter(error for _, _, error in results if error)
    ordered = sorted(latency for _, latency, _ in results)
    return {
        "calls": len(results),
        "failed": errors.total(),
        "most_failed_of": errors.most_common(1)[0][0] if errors else "",
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": p99_ms(results),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="both halves together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seconds, block_s, every_s = args.seconds, BLOCK_S, EVERY_S
    if args.quick:
        seconds, block_s, every_s = 12.0, 6.0, 2.0
    print(describe(), flush=True)
    found = measure(seconds, block_s, every_s, args.seed)
    calm, killed = found["undisturbed"], found["killed"]
    print(f"\n{found['kills']} kills in {seconds / 2:g} s, beside {seconds / 2:g} s without\n")
    print(f"{'':12}{'calls':>8}{'failed':>8}{'p50 ms':>8}{'p99 ms':>8}")
    for name in ("undisturbed", "killed"):
        one = found[name]
        print(f"{name:12}{one['calls']:8}{one['failed']:8}{one['p50_ms']:8.1f}{one['p99_ms']:8.1f}"
              f"  {one['most_failed_of'][:80]}")  # fmt: skip
    print()
    print(verdict("failed calls", calm["failed"] + killed["failed"], 0))
    print(verdict("p99 to undisturbed", killed["p99_ms"] / calm["p99_ms"], MOST_P99))
    if args.json:
        args.json.write_text(json.dumps(found | {"machine": describe()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
