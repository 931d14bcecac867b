"""One run of the scaling act, from the first process to the last."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from examples.demo.options import Options
from examples.demo.processes import Child
from examples.demo.run import FRAME_S, READY_S, stop_on_signals
from examples.demo.scaling.fleet import Fleet, surely
from examples.demo.scaling.follow import Follow
from examples.demo.scaling.profile import profile
from examples.demo.scaling.state import Act
from examples.demo.scaling.story import READY, Node
from examples.demo.tally import Ended
from examples.demo.workload import Mix
from meshlb.errors import UnavailableError

SUMS_S = 1.0
LOOK_S = 0.1
LEAST_SERVING = 3
"""Before a node is killed."""
WAIT_START_S = 0.2
"""Before the first call, so that all callers have been told."""

Show = Callable[[Act], None]
Say = Callable[[str], None]


async def run(options: Options, say: Say, show: Show) -> Act:
    """Run it; ``say`` gets lines before the start, ``show`` the state four times a second."""
    course = profile(options.seconds, Mix())
    arrivals = list(course.arrivals(options.seed, Mix()))
    if not arrivals:
        raise UnavailableError("no call would begin in that time; ask for more --seconds")
    act = Act(options, course, len(arrivals))
    stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="meshlb-demo-") as folder:
        fleet = Fleet(Path(folder))
        try:
            say(
                f"Starting a controller with the actuator `process`, which starts the first node,"
                f" and {options.clients} callers ..."
            )
            await fleet.start(options, course)
            follow = Follow(act, fleet.controller)
            try:
                async with asyncio.timeout(READY_S):
                    while not act.count(READY):
                        fleet.check()
                        await asyncio.sleep(LOOK_S)
                    await fleet.plan(options, arrivals)
                say(
                    f"Ready. {min(s.rate for s in course.steps):.1f} to {course.peak_rate:.1f}"
                    f" calls/s in {len(course.steps)} steps; one node is killed at each peak."
                )
                await _play(act, fleet, show)
            finally:
                await follow.close()
        except TimeoutError as late:
            raise UnavailableError(f"not everything was up within {READY_S:.0f} s") from late
        finally:
            await surely(fleet.stop())
    return act


async def _play(act: Act, fleet: Fleet, show: Show) -> None:
    act.begin()
    start = time.monotonic() + WAIT_START_S
    readers = []
    for caller in fleet.callers:
        await caller.tell({"start": start})
        readers.append(asyncio.create_task(_read(caller, act)))
    done = asyncio.gather(*readers)
    killing = asyncio.create_task(_kill(act, fleet, start))
    summed_at = 0.0
    seconds = act.options.seconds
    try:
        while not (done.done() and act.settled) and act.elapsed_s < seconds:
            if done.done():
                await done  # raises what a reader has raised
                await asyncio.sleep(FRAME_S)
            else:
                await asyncio.wait([done], timeout=FRAME_S)
            act.elapsed_s = min(seconds, max(0.0, time.monotonic() - start))
            if act.elapsed_s >= summed_at:
                summed_at = act.elapsed_s + SUMS_S
                act.sum_up()
            fleet.check()
            show(act)
        await done
        act.over = True
        act.sum_up()
        show(act)
    finally:
        done.cancel()
        killing.cancel()
        await asyncio.gather(done, killing, return_exceptions=True)


async def _read(caller: Child, act: Act) -> None:
    async for line in caller.each():
        act.end(Ended(**line))


async def _kill(act: Act, fleet: Fleet, start: float) -> None:
    """Kill the busiest node in the middle of each peak, or as soon as there are others."""
    for peak in act.profile.peaks:
        await asyncio.sleep(start + peak.middle_s - time.monotonic())
        serving = await _several(act, peak.until_s)
        if not serving:
            act.tell("no node is killed: there are too few")
            continue
        victim = max(serving, key=lambda node: node.in_flight or 0.0).replica_id
        if await asyncio.to_thread(fleet.kill, victim):
            act.killed(victim)


async def _several(act: Act, until_s: float) -> list[Node]:
    """Wait until a node can go, and return those that serve calls; empty: it was in vain.

    A call that broke where there is no other node that its caller knows has nowhere to go.
    """
    while True:
        serving = [node for node in act.nodes if act.serves(node)]
        if len(serving) >= LEAST_SERVING:
            return serving
        if act.elapsed_s >= until_s:
            return []
        await asyncio.sleep(LOOK_S)
