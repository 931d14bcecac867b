"""Everything fails, in turns and at once, under load; no call that could succeed may be lost.

4 model servers with a sidecar each, 2 controllers, and caller processes with threads and asyncio:
idempotent unary calls, some hedged, and streams that are taken up where they broke, each with 60 s.
What fails is drawn from a seed: kill -9, SIGSTOP, slow servers, cut networks, flapping, controllers
and sidecars killed or stopped, certificates replaced. A third controller, with a caller of its own,
is never harmed. Half of the servers are in order at any time, so a call that fails, or a stream
with a message missing, is lost. The memory of all that lives on is to stay flat.
A network that is cut is a relay that hands no byte on and ends no connection.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from chaos_memory import Memory
from chaos_plan import Fault, plan
from machine import describe, verdict
from processes import HERE, START_LIMIT_S, Processes, free_port, nodes, wait_for_port

SERVERS, CONTROLLERS = 4, 2
CALLERS = (("threads", 6), ("asyncio", 8), ("asyncio", 2))
"""Kind and calls at once of each caller process; the last one asks the witness."""
BOUNCE_S = 0.7
"""A server that flaps is killed again after so long."""
MOST_GROWTH_MB = 1.0
"""Memory of one process that is added in a minute, once it has warmed up."""
LEAST_FOR_MEMORY_S = 300.0
"""A shorter run says nothing of memory."""
Process = subprocess.Popen[str]


class World:
    """All programs of a run, and how to harm them."""

    def __init__(self, processes: Processes, certs: Path) -> None:
        self._processes = processes
        self._certs = certs
        self._renew().wait()
        self._ports = [free_port() for _ in range(SERVERS)]
        self._relayed = [free_port() for _ in range(SERVERS)]
        self.controllers = [f"127.0.0.1:{free_port()}" for _ in range(CONTROLLERS + 1)]
        self._servers = [self._server(number) for number in range(SERVERS)]
        self._relay = processes.python(
            HERE / "chaos_relay.py",
            *(f"{a}:{b}" for a, b in zip(self._relayed, self._ports, strict=True)),
            talk=True,
        )
        self._controlling = [self._controller(number) for number in range(CONTROLLERS + 1)]
        for port in (*self._ports, *self._relayed, *(int(c[10:]) for c in self.controllers)):
            wait_for_port(port)
        self._sidecars = [self._sidecar(number) for number in range(SERVERS)]

    def target(self, witness: bool) -> str:
        """Return what a caller dials."""
        asked = self.controllers[CONTROLLERS:] if witness else self.controllers[:CONTROLLERS]
        return f"mesh://{','.join(asked)}/bench"

    @property
    def living(self) -> dict[str, int]:
        """Pids of what is not to grow, by name."""
        parts = {"controller": self._controlling, "sidecar": self._sidecars}
        return {
            f"{name} {number}": one.pid
            for name, those in parts.items()
            for number, one in enumerate(those)
            if one.poll() is None
        }

    def identity(self, role: str) -> list[object]:
        """Return the flags of a program that has a role."""
        parts = ("ca", "ca.pem"), ("cert", f"{role}.pem"), ("key", f"{role}.key")
        return [one for flag, name in parts for one in (f"--{flag}", self._certs / name)]

    def until_known(self) -> None:
        """Wait until every controller knows all nodes."""
        give_up = time.monotonic() + START_LIMIT_S
        for controller in self.controllers:
            while len(nodes(controller, *self.identity("viewer"))) < SERVERS:
                if time.monotonic() > give_up:
                    raise TimeoutError(f"the nodes did not appear at {controller}")
                time.sleep(0.1)

    def steps(self, fault: Fault) -> Iterator[tuple[float, Callable[[], object]]]:
        """Return what is to be done for a fault, and when."""
        number, begin, end = fault.target, fault.at_s, fault.end_s
        if fault.kind == "flap":
            for bounce in range(max(1, int(fault.seconds / BOUNCE_S))):
                yield begin + bounce * BOUNCE_S, partial(self._start_server, number)
            return
        if fault.kind == "rotate":
            yield begin, self._renew
            return
        first, then = {
            "kill": (partial(_send, self._servers, signal.SIGKILL), self._start_server),
            "freeze": (
                partial(_send, self._servers, signal.SIGSTOP),
                partial(_send, self._servers, signal.SIGCONT),
            ),
            "slow": (partial(self._slow, 1.0), partial(self._slow, 0.0)),
            "partition": (partial(self._network, "cut"), partial(self._network, "join")),
            "controller-kill": (
                partial(_send, self._controlling, signal.SIGKILL),
                self._start_controller,
            ),
            "controller-freeze": (
                partial(_send, self._controlling, signal.SIGSTOP),
                partial(_send, self._controlling, signal.SIGCONT),
            ),
            "sidecar-kill": (partial(_send, self._sidecars, signal.SIGKILL), self._start_sidecar),
        }[fault.kind]
        yield begin, partial(first, number)
        yield end, partial(then, number)

    def _slow(self, seconds: float, number: int) -> None:
        _tell(self._servers[number], str(seconds))

    def _network(self, what: str, number: int) -> None:
        _tell(self._relay, f"{what} {number}")

    def _renew(self) -> Process:
        return self._processes.python("-m", "meshlb.cli", "certs", self._certs, "--force")

    def _server(self, number: int) -> Process:
        return self._processes.python(HERE / "chaos_server.py", self._ports[number], talk=True)

    def _controller(self, number: int) -> Process:
        return self._processes.python(
            "-m", "meshlb.cli", "controller", "--listen", self.controllers[number],
            "--config", self._certs / "meshlb.toml", "--log-level", "error",
        )  # fmt: skip

    def _sidecar(self, number: int) -> Process:
        return self._processes.python(
            "-m", "sidecar", "--controller", ",".join(self.controllers), "--service", "bench",
            "--node", f"127.0.0.1:{self._relayed[number]}", "--log-level", "error",
            "--pid", self._servers[number].pid, *self.identity("node"),
        )  # fmt: skip

    def _start_server(self, number: int) -> None:
        _end(self._servers[number])
        self._servers[number] = self._server(number)

    def _start_controller(self, number: int) -> None:
        _end(self._controlling[number])
        self._controlling[number] = self._controller(number)

    def _start_sidecar(self, number: int) -> None:
        _end(self._sidecars[number])
        self._sidecars[number] = self._sidecar(number)


def _send(those: list[Process], number_of_signal: int, number: int) -> None:
    those[number].send_signal(number_of_signal)


def _tell(process: Process, line: str) -> None:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def _end(process: Process) -> None:
    process.kill()
    process.wait()


def run(faults: list[Fault], seconds: float, callers: tuple[tuple[str, int], ...], seed: int
        ) -> dict[str, Any]:  # fmt: skip
    """Carry a plan out; return the callers' tallies and what became of the memory."""
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        world = World(processes, Path(folder))
        world.until_known()
        calling = [
            processes.python(
                HERE / "chaos_caller.py", kind, world.target(witness=number == len(callers) - 1),
                lines, f"{seed}{number}", folder, quiet=False, talk=True,
            )
            for number, (kind, lines) in enumerate(callers)
        ]  # fmt: skip
        steps = sorted(
            ((at, do) for fault in faults for at, do in world.steps(fault)), key=lambda one: one[0]
        )
        memory, began = Memory(), time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            while steps and steps[0][0] <= now:
                steps.pop(0)[1]()
            callers_now = {f"caller {n}": one.pid for n, one in enumerate(calling)}
            memory.look(now, world.living | callers_now)
            if any(one.poll() is not None for one in calling):
                raise RuntimeError("a caller ended by itself")
            time.sleep(0.02 if steps and steps[0][0] < now + 0.2 else 0.2)
        tallies = [json.loads(one.communicate(timeout=200)[0]) for one in calling]
        return {
            "callers": {
                f"{kind} {number}": tally
                for number, ((kind, _), tally) in enumerate(zip(callers, tallies, strict=True))
            },
            "memory": memory.figures(seconds),
        }


def report(found: dict[str, Any]) -> bool:
    """Print the figures; return whether nothing was lost and nothing grew."""
    names = ("unary", "streams", "messages", "lost")
    print(f"\n{'callers':12}" + "".join(f"{name:>10}" for name in names) + f"{'longest s':>11}")
    for caller, tally in found["callers"].items():
        figures = "".join(f"{tally[name]:10,}" for name in names)
        print(f"{caller:12}{figures}{tally['longest_s']:11.1f}")
        for problem in tally["problems"]:
            print(f"  {problem}")
    lost = sum(tally["lost"] for tally in found["callers"].values())
    memory = found["memory"]
    for name, one in memory.items():
        slope = one["mb_a_minute"]
        told = "" if slope is None else f", {slope:+.2f} MB a minute once warm"
        print(f"{name:14} {one['first_mb']:6.1f} to {one['last_mb']:6.1f} MB{told}")
    print()
    print(verdict("calls lost", lost, 0))
    if found["seconds"] >= LEAST_FOR_MEMORY_S:
        growth = max((one["mb_a_minute"] or 0.0 for one in memory.values()), default=0.0)
        print(verdict("greatest growth, MB a minute", growth, MOST_GROWTH_MB))
    return lost == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="of the plan (default: drawn, and printed)")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--quick", action="store_true", help="a look: 11 s, few callers")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    seconds = 11.0 if args.quick else args.seconds
    faults = plan(seed, seconds, SERVERS, CONTROLLERS)
    kinds = Counter(fault.kind for fault in faults)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(describe())
    print(f"seed {seed}, {seconds:g} s, {len(faults)} faults: {told}", flush=True)
    if args.plan:
        for fault in faults:
            print(f"{fault.at_s:8.2f} {fault.kind:18} {fault.target} for {fault.seconds:.2f} s")
        return 0
    callers = (("threads", 2), ("asyncio", 3), ("asyncio", 1)) if args.quick else CALLERS
    found = run(faults, seconds, callers, seed) | {
        "seed": seed, "seconds": seconds, "faults": dict(kinds), "machine": describe(),
    }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
