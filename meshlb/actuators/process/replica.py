"""One replica's life, as one task: started or adopted, watched until its end, cleared away.

The ledger is written before each step that a killed controller could leave half done. Long because
start, adoption, loss and stop share their state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from meshlb import os_process
from meshlb.actuators import Context
from meshlb.actuators.process import ending, health, launch, resizing, watch
from meshlb.actuators.process.backoff import BackOff
from meshlb.actuators.process.entry import Child, Entry
from meshlb.actuators.process.params import Params, address_of
from meshlb.errors import InvalidInputError, MeshlbError
from meshlb.scale_model import Replica, ReplicaState

PORT_TRIES = 5
STEADY_S = 10.0
"""What has run this long does not count as a failed start when it ends."""
SIDECAR_FIRST_S, SIDECAR_MOST_S = 0.5, 30.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Home:
    """What all replicas of one actuator share."""

    service: str
    params: Params
    context: Context
    backoff: BackOff
    """Of starts."""


class LocalReplica:
    """One server with its sidecar."""

    def __init__(self, entry: Entry, home: Home) -> None:
        self.entry = entry
        self.state = ReplicaState.STARTING
        self.since = time.time()
        self.reason = ""
        self.gone_at: float | None = None
        """Monotonic; all of it has ended and its entry is dropped. None: not yet."""
        self._home = home
        self._started_at = entry.ordered_at
        """When its server was started, as far as it is known; Unix seconds."""
        self._begun_at = 0.0
        self._log_start = 0
        self._keeper: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def view(self) -> Replica:
        """Return what the controller sees."""
        entry = self.entry
        return Replica(entry.replica_id, entry.replica_id, self.state, self.since, self.reason)

    def begin(self, wait_s: float, why: str) -> None:
        """Start it, after a wait if earlier ones have failed."""
        self._run(self._begin(wait_s, why))

    def adopt(self, *, running: bool) -> None:
        """Go on with what an earlier controller started; ``entry`` names what runs of it."""
        launch.keep_port(self.entry.address)
        if self.entry.state == "stopping":
            self.stop("its stop was ordered before this controller started")
        elif not running:
            problem = "its server ended while no controller ran"
            self._say(ReplicaState.LOST, problem)
            self._run(self._lose(problem, failed=False))
        else:
            ready = self.entry.state == "ready"
            state = ReplicaState.READY if ready else ReplicaState.STARTING
            self._say(state, "found running by this controller")
            if not ready:
                self.since = self.entry.ordered_at  # so that its start is measured whole
            self._run(self._go_on())

    def stop(self, reason: str) -> None:
        """End it in order; one that is lost is cleared away already."""
        if self.state in (ReplicaState.STOPPING, ReplicaState.LOST):
            return
        self._say(ReplicaState.STOPPING, reason)
        self._run(self._stop(self._task))

    async def set_slots(self, slots: int) -> None:
        """Have its next sidecar tell these slots."""
        self.entry.slots = slots
        await watch.whole(self._record)

    async def keep_cores(self, how: str) -> None:
        """Write down what its server has by "affinity" or "nice" before that is first changed."""
        entry = self.entry
        found = await asyncio.to_thread(resizing.before, entry.server, how)
        if isinstance(found, list) and entry.cpus_before is None:
            entry.cpus_before = found
        elif isinstance(found, int) and entry.nice_before is None:
            entry.nice_before = found
        else:
            return
        await watch.whole(self._record)

    async def give_back_cores(self) -> bool:
        """Give its server what it had before ``keep_cores``; whether that could be done."""
        entry = self.entry
        cpus, nice = entry.cpus_before, entry.nice_before
        if cpus is None and nice is None:
            return True
        done = await asyncio.to_thread(resizing.restore, entry.server, cpus, nice)
        log.info("replica_cores_given_back", replica=entry.replica_id, cpus=cpus, nice=nice,
                 done=done)  # fmt: skip
        if done:
            entry.cpus_before = entry.nice_before = None
            await watch.whole(self._record)
        return done

    async def let_go(self) -> None:
        """Look after it no longer; its processes run on."""
        for task in (self._task, self._keeper):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        for child in (self.entry.server, self.entry.sidecar):
            if child.process is not None:
                child.process.returncode = 0  # else Popen complains that it outlives its object

    def _run(self, course: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(self._guarded(course), name=self.entry.replica_id)

    async def _guarded(self, course: Coroutine[Any, Any, None]) -> None:
        try:
            await course
        except MeshlbError as error:
            await self._lose(str(error))
        except Exception as error:
            log.exception("replica_failed", replica=self.entry.replica_id)
            await self._lose(repr(error))

    async def _begin(self, wait_s: float, why: str) -> None:
        if wait_s > 0:
            self.reason = f"waits {wait_s:.1f} s before the next start, since {why}"
            await asyncio.sleep(wait_s)
        for left in reversed(range(PORT_TRIES)):
            self._begun_at, self._started_at = time.monotonic(), time.time()
            self.reason = "its server starts"
            await watch.whole(self._launch)
            self._keep_sidecar()
            problem = await self._until_ready(self._home.params.ready_limit_s)
            if problem is None:
                break
            await self._clear(self.entry.grace_s)
            if not left or not await asyncio.to_thread(self._port_is_taken):
                await self._lose(problem)
                return
            log.info("port_taken", replica=self.entry.replica_id, address=self.entry.address)
        await self._watch()

    async def _go_on(self) -> None:
        self._begun_at = time.monotonic()
        self._keep_sidecar()
        if self.state is not ReplicaState.READY:
            left_s = self._home.params.ready_limit_s - (time.time() - self.entry.ordered_at)
            problem = await self._until_ready(max(1.0, left_s))
            if problem is not None:
                await self._lose(problem)
                return
        await self._watch()

    def _launch(self) -> None:
        """Start the server, in a thread: on disk before, and after."""
        entry, home = self.entry, self._home
        launch.release_port(entry.address)
        entry.address = address_of(home.params.host, launch.free_port(home.params.host))
        entry.server, entry.sidecar = Child(), Child()
        entry.controllers = home.context.controllers
        launch.make_room(home.params.logs(), home.service, home.context.ledger.entries().keys())
        home.context.ledger.put(entry.replica_id, entry.to_json())
        path = self._log("server")
        self._log_start = path.stat().st_size if path.exists() else 0
        launch.server(entry, home.params, home.service, self._log("server"))
        self._record()

    def _port_is_taken(self) -> bool:
        return launch.is_taken(self.entry.address, self._log("server"), self._log_start)

    async def _until_ready(self, limit_s: float) -> str | None:
        """Wait until the server is healthy; return what went wrong, None: nothing."""
        params = self._home.params
        try:
            tls = params.tls()
        except InvalidInputError as error:
            return f"its server cannot be asked: {error}"
        end = asyncio.ensure_future(watch.ended(self.entry.server))
        ready = asyncio.ensure_future(
            health.until_serving(self.entry.address, tls, params.authority)
        )
        try:
            await asyncio.wait((end, ready), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                return "its server " + launch.how_it_ended(end.result(), self._log("server"))
            if not ready.done():
                said = " | ".join(launch.last_lines(self._log("server"))) or "nothing"
                return f"its server is not healthy after {limit_s:g} s; it said: {said}"
            if await asyncio.to_thread(launch.is_strange, self.entry):
                return f"{self.entry.address} is already in use by another program"
        finally:
            for task in (end, ready):
                task.cancel()
            await asyncio.gather(end, ready, return_exceptions=True)
        self.entry.state = "ready"
        await watch.whole(self._record)
        took_s = max(0.0, time.time() - self._started_at)
        self._say(ReplicaState.READY, f"healthy {took_s:.1f} s after its start")
        return None

    async def _watch(self) -> None:
        """Wait for the server's end, which nobody has ordered."""
        began = time.monotonic()
        end = asyncio.ensure_future(watch.ended(self.entry.server))
        try:
            await asyncio.wait([end], timeout=STEADY_S)
            if not end.done():
                self._home.backoff.steady()
            code = await end
        finally:
            end.cancel()
        text = launch.how_it_ended(code, self._log("server"))
        steady = time.monotonic() - began >= STEADY_S
        await self._lose(f"its server {text}", failed=not steady)

    async def _lose(self, problem: str, *, failed: bool = True) -> None:
        """Say that it is lost, and clear away what is left of it."""
        if failed:
            self._home.backoff.failed(self._begun_at, time.monotonic())
        self._say(ReplicaState.LOST, problem)
        await self._end()

    async def _stop(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        self.entry.state = "stopping"
        await watch.whole(self._record)
        await self._end()

    async def _end(self) -> None:
        try:
            await self._clear(self.entry.grace_s)
            await watch.whole(self._drop)
        except Exception as error:  # its entry stays, for the next controller or `meshlb down`
            self._say(ReplicaState.LOST, f"{self.reason}; it could not be cleared away: {error}")
        self.gone_at = time.monotonic()

    async def _clear(self, grace_s: float) -> None:
        """End the server and all that it started, then its sidecar, which says goodbye."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await ending.end(self.entry.server, grace_s)
        await ending.end(self.entry.sidecar, ending.SIDECAR_GRACE_S)

    def _keep_sidecar(self) -> None:
        if self._home.params.sidecar:
            name = f"sidecar of {self.entry.replica_id}"
            self._keeper = asyncio.create_task(self._sidecars(), name=name)

    async def _sidecars(self) -> None:
        """Keep a sidecar beside the server, whatever becomes of the last one."""
        entry, home = self.entry, self._home
        backoff = BackOff(SIDECAR_FIRST_S, SIDECAR_MOST_S)
        if entry.controllers != home.context.controllers:
            await self._kill_sidecar()  # silently: its node goes on under the next one
        while True:
            began = time.monotonic()
            try:
                if entry.sidecar.name is None:
                    await watch.whole(self._launch_sidecar)
                code = await watch.ended(entry.sidecar)
                problem = "its sidecar " + launch.how_it_ended(code, self._log("sidecar"))
                await self._kill_sidecar()
            except MeshlbError as error:
                problem = f"its sidecar cannot be started: {error}"
            now = time.monotonic()
            if now - began >= STEADY_S:
                backoff.steady()
            backoff.failed(began, now)
            log.warning("sidecar_ended", replica=entry.replica_id, problem=problem)
            if self.state in (ReplicaState.STARTING, ReplicaState.READY):
                self.reason = f"{problem}; it is started again"
            await asyncio.sleep(backoff.wait_s(now))

    async def _kill_sidecar(self) -> None:
        """Make sure that nothing runs of the sidecar."""
        await ending.end(self.entry.sidecar, None)
        self.entry.sidecar = Child()

    def _launch_sidecar(self) -> None:
        entry, home = self.entry, self._home
        entry.controllers = home.context.controllers
        home.context.ledger.put(entry.replica_id, entry.to_json())
        launch.sidecar(entry, home.params, home.service, self._log("sidecar"))
        self._record()

    def _record(self) -> None:
        """Write what has happened; if that fails, the intent on disk and the token do."""
        try:
            self._home.context.ledger.put(self.entry.replica_id, self.entry.to_json())
        except Exception as error:
            log.warning("ledger_failed", replica=self.entry.replica_id, problem=str(error))

    def _drop(self) -> None:
        launch.release_port(self.entry.address)
        self._home.context.ledger.remove(self.entry.replica_id)

    def _say(self, state: ReplicaState, reason: str) -> None:
        self.state, self.reason, self.since = state, reason, time.time()
        say = log.warning if state is ReplicaState.LOST else log.info
        say(f"replica_{state.value}", service=self._home.service, replica=self.entry.replica_id,
            reason=reason)  # fmt: skip

    def _log(self, role: str) -> Path:
        return launch.log_path(self._home.params.logs(), self.entry.replica_id, role)


def find(entry: Entry, carried: dict[str, list[os_process.ProcessName]]) -> bool:
    """Name what runs of an entry's server and sidecar; whether its server runs.

    ``carried`` is what carries their tokens now.
    """
    for child in (entry.server, entry.sidecar):
        if child.name is None or not os_process.is_ours(child.name, child.token):
            running = carried.get(child.token, ())
            leaders = [one for one in running if os_process.leads(one)]
            child.name = leaders[0] if leaders and child.name is None else None
    return entry.server.name is not None
