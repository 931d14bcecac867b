"""One run of the demo, from the first process to the last."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from examples.demo import fleet, workload
from examples.demo.fleet import Started
from examples.demo.options import Options
from examples.demo.processes import Child, Children
from examples.demo.state import BALANCERS, MESHLB, Fleet, Run
from examples.demo.tally import Ended
from examples.demo.watch import Watch
from examples.demo.workload import Arrival, Mix, Sizes
from meshlb.errors import UnavailableError

FRAME_S = 0.25
READY_S = 60.0
LLAMA_MIX = Mix(
    prompts=Sizes(mean=9, p50=8, p99=20),
    answers=Sizes(mean=16, p50=12, p99=40),
    embedded=Sizes(mean=9, p50=8, p99=20),
)
LLAMA_CALL_S = 0.55
"""Seconds of a core that the mean call of this mix takes: 25 tokens/s, 0.1 s an Embed."""

Show = Callable[[Run], None]
Say = Callable[[str], None]


def plan(options: Options, cores: int) -> tuple[list[Arrival], str]:
    """Return the calls to make and the same in words."""
    slots = fleet.slots(options.engine)
    if options.engine == "llama":
        mix = LLAMA_MIX
        # Both fleets share the machine's cores.
        capacity = min(len(options.speeds), cores / len(BALANCERS)) / LLAMA_CALL_S
    else:
        mix = Mix()
        capacity = sum(options.speeds) / mix.seconds(slots)
    if options.trace is None:
        rate = options.utilization * capacity
        rng = random.Random(options.seed)
        words = f"Poisson arrivals, {rate:.1f} calls/s, {options.utilization:.0%} of capacity"
        return list(workload.poisson(rng, rate, options.load_s, mix)), words
    trace = workload.read_trace(options.trace)
    if options.engine == "llama":
        trace = [workload.shortened(call) for call in trace]
    speed = options.speed
    if speed is None:
        mean_s = workload.mean_seconds(trace, slots) if options.engine != "llama" else LLAMA_CALL_S
        whole = sum(options.speeds) if options.engine != "llama" else capacity * LLAMA_CALL_S
        speed = options.utilization * whole / mean_s / workload.natural_rate(trace)
    words = f"{options.trace.name}, {speed:.3g} times as fast as it was"
    return workload.replay(trace, speed, options.load_s), words


async def run(options: Options, cores: int, say: Say, show: Show) -> Run:
    """Run it; ``say`` gets lines before the start, ``show`` the state four times a second."""
    arrivals, words = plan(options, cores)
    if not arrivals:
        raise UnavailableError("no call would begin in that time; ask for more --seconds")
    state = Run(options, fleet.names(options), words, len(arrivals))
    stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="meshlb-demo-") as logs:
        children = Children(Path(logs))
        try:
            count = len(options.speeds)
            say(
                f"Starting 2 x {count} model servers ({options.engine}), {count} sidecars,"
                f" a controller and {2 * options.clients} callers ..."
            )
            started = await fleet.start(children, options, arrivals)
            watch = Watch(state, started)
            try:
                await asyncio.wait_for(_ready(started, watch), READY_S)
                say(f"Ready. {words}. One server is killed after {options.kill_s:.0f} s.")
                watch.begin()
                await _play(state, started, show)
            finally:
                await watch.close()
        except TimeoutError as late:
            raise UnavailableError(f"not everything was up within {READY_S:.0f} s") from late
        finally:
            await children.stop()
    return state


async def _ready(started: Started, watch: Watch) -> None:
    """Wait until the controller knows every node and every caller is connected."""
    while True:
        known = await watch.nodes()
        active = [node for node in known.values() if node.state == "active"]
        if len(active) == len(started.servers[MESHLB]):
            break
        await asyncio.sleep(0.1)
    for caller in _all_callers(started):
        if await caller.hear() is None:
            await caller.process.wait()
            raise caller.ended()


async def _play(state: Run, started: Started, show: Show) -> None:
    options = state.options
    start = time.monotonic() + 0.2
    readers = []
    for balancer, callers in started.callers.items():
        for caller in callers:
            await caller.tell({"start": start})
            reading = _read(caller, state.fleets[balancer])
            readers.append(asyncio.create_task(reading))
    done = asyncio.gather(*readers)
    killing = asyncio.create_task(_kill(state, started, start))
    try:
        while not done.done():
            state.elapsed_s = min(options.seconds, max(0.0, time.monotonic() - start))
            _note_changes(state, started)
            show(state)
            await asyncio.wait([done], timeout=FRAME_S)
        await done
        state.over = True
        _note_changes(state, started)
        state.elapsed_s = min(options.seconds, time.monotonic() - start)
        show(state)
    finally:
        done.cancel()
        killing.cancel()
        await asyncio.gather(done, killing, return_exceptions=True)


async def _read(caller: Child, into: Fleet) -> None:
    async for line in caller.each():
        into.tally.add(Ended(**line))


async def _kill(state: Run, started: Started, start: float) -> None:
    """Kill the same server in both fleets, as a crash would."""
    options = state.options
    await asyncio.sleep(start + options.kill_s - time.monotonic())
    state.killed = state.names[options.victim]
    for balancer in BALANCERS:
        started.servers[balancer][options.victim].child.process.kill()
    _event(state, "kill", f"{state.killed} killed (SIGKILL) in both fleets")


def _note_changes(state: Run, started: Started) -> None:
    """Add events for what is new: failed calls, answers taken up, servers that ended."""
    for balancer, one in state.fleets.items():
        total = one.tally.total()
        if total.failed:
            _event(
                state, f"{balancer} failed", f"{balancer}: {_plural(total.failed, 'call')} failed"
            )
        if total.moved:
            text = (
                f"{balancer}: {_plural(total.moved, 'broken answer')} went on elsewhere, none lost"
            )
            _event(state, f"{balancer} moved", text)
        for server in started.servers[balancer]:
            if not server.child.alive and server.name != state.killed:
                _event(state, server.child.name, f"{balancer}: {server.child.ended()}")
    victim = state.known.get(state.killed or "")
    if victim is not None and victim.state != "active":
        text = f"meshlb: {state.killed} is {victim.state}: {victim.reason}"
        _event(state, "victim", text)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _event(state: Run, key: str, text: str) -> None:
    at, _ = state.events.get(key, (state.elapsed_s, ""))
    state.events[key] = (at, text)


def _all_callers(started: Started) -> list[Child]:
    return [caller for group in started.callers.values() for caller in group]


def stop_on_signals() -> None:
    """Make SIGTERM and a closed terminal end the run as Ctrl-C does: children first."""
    task = asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
