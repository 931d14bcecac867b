"""The actuator: all replicas of one service on this machine."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Sequence

import structlog

from meshlb import os_process
from meshlb.actuators import Capabilities, Context, Order
from meshlb.actuators.process import resizing
from meshlb.actuators.process.backoff import BackOff
from meshlb.actuators.process.entry import Entry
from meshlb.actuators.process.params import Params
from meshlb.actuators.process.replica import Home, LocalReplica, find
from meshlb.errors import InvalidInputError
from meshlb.scale_model import Replica, ReplicaState

LOST_SHOWN_S = 60.0
"""Lost replicas are shown this long after the last of them is cleared away."""
LOST_SHOWN = 20
RACE_S = 1.0
"""A program whose start was under way when its controller was killed shows its token by then."""
MOST_STARTS = 1000
_LIVE = (ReplicaState.STARTING, ReplicaState.READY)
log = structlog.get_logger()


class ProcessActuator:
    """Starts, watches, resizes and stops local processes."""

    capabilities = Capabilities(starts=True, chooses_victim=True, resizes=True)

    def __init__(self, service: str, params: Params, context: Context) -> None:
        backoff = BackOff(params.backoff_s, params.backoff_max_s)
        self._home = Home(service, params, context, backoff)
        self._replicas: dict[str, LocalReplica] = {}

    async def start(self) -> None:
        """Adopt what an earlier controller started; what of it has gone is lost."""
        raw = await asyncio.to_thread(self._home.context.ledger.entries)
        entries = []
        for replica_id, one in raw.items():
            try:
                entries.append(Entry.from_json(replica_id, one))
            except InvalidInputError as error:
                log.warning("ledger_entry_damaged", problem=str(error))
        running = await self._running(entries)
        for entry in entries:
            replica = self._replicas[entry.replica_id] = LocalReplica(entry, self._home)
            replica.adopt(running=entry.replica_id in running)

    async def observe(self) -> Sequence[Replica]:
        """Return all replicas, those that were lost of late among them."""
        now = time.monotonic()
        ended = [r for r in self._replicas.values() if r.gone_at is not None]
        lost = [r for r in ended if r.state is ReplicaState.LOST]
        lost.sort(key=lambda r: r.gone_at or now)
        shown = [r for r in lost[-LOST_SHOWN:] if now - (r.gone_at or now) < LOST_SHOWN_S]
        for replica in ended:
            if replica not in shown:
                del self._replicas[replica.entry.replica_id]
        return [replica.view() for replica in self._replicas.values()]

    async def apply(self, order: Order) -> None:
        """Begin starts and stops. Raises InvalidInputError for an order that cannot be meant."""
        service = self._home.service
        faults = []
        if order.service != service:
            faults.append(f"order.service = {order.service!r}: {service!r}")
        if not 0 <= order.start <= MOST_STARTS:
            faults.append(f"order.start = {order.start}: from 0 to {MOST_STARTS}")
        if faults:
            raise InvalidInputError(faults)
        for replica_id in order.stop:
            replica = self._replicas.get(replica_id)
            if replica is not None:
                replica.stop(order.reason)
                if replica.state is ReplicaState.LOST and replica.gone_at is not None:
                    del self._replicas[replica_id]
        live = [r for i, r in self._replicas.items() if r.state in _LIVE and i not in
                order.withdrawn]  # fmt: skip
        for _ in range(min(order.start, order.target - len(live))):
            self._begin(order)

    async def resize(
        self, replica_id: str, slots: int | None, cpu_cores: float | None, memory_bytes: int | None
    ) -> bool:
        """Set CPU affinity or nice of all of a server's threads; whether all asked for was done.

        Infinite cores: as it was started. Slots are enforced elsewhere: here they are what its
        sidecar says when it starts again. The memory of a running process cannot be set.
        """
        replica = self._replicas.get(replica_id)
        if replica is None or replica.state not in _LIVE:
            return False
        if slots is not None:
            await replica.set_slots(slots)
        if cpu_cores is None:
            return memory_bytes is None
        if not cpu_cores > 0:
            raise InvalidInputError(f"cpu_cores = {cpu_cores}: above 0")
        if cpu_cores == math.inf:
            return await replica.give_back_cores() and memory_bytes is None
        how = self._home.params.resize
        if how == "off":
            return False
        others = [r.entry.server for r in self._replicas.values() if r is not replica]
        await replica.keep_cores(how)
        done = await asyncio.to_thread(
            resizing.set_cores, replica.entry.server, cpu_cores, how, others
        )
        log.info("replica_resized", replica=replica_id, cpu_cores=cpu_cores, how=how, done=done)
        return done and memory_bytes is None

    async def close(self) -> None:
        """Let go: all replicas run on, for the next controller to adopt."""
        await asyncio.gather(*(replica.let_go() for replica in self._replicas.values()))
        self._replicas.clear()

    def _begin(self, order: Order) -> None:
        home = self._home
        entry = Entry(
            # The ledger's names are the nodes' names, and those are never used again.
            replica_id=f"{home.service}-{secrets.token_hex(4)}",
            ordered_at=time.time(),
            decision_id=order.decision_id,
            grace_s=home.params.grace_s,
            slots=home.params.slots,
        )
        replica = self._replicas[entry.replica_id] = LocalReplica(entry, home)
        count = home.backoff.count
        why = f"{count} start{'s' * (count > 1)} in a row failed; see the lost replicas"
        replica.begin(home.backoff.wait_s(time.monotonic()), why)

    async def _running(self, entries: Sequence[Entry]) -> set[str]:
        """Return the replicas whose server runs."""
        found = await asyncio.to_thread(_find_all, entries)
        if any(e.server.name is None and e.replica_id not in found for e in entries):
            await asyncio.sleep(RACE_S)
            found |= await asyncio.to_thread(_find_all, entries)
        return found


def _find_all(entries: Sequence[Entry]) -> set[str]:
    tokens = {child.token for e in entries for child in (e.server, e.sidecar)}
    carried = os_process.carriers(tokens) if tokens else {}
    return {entry.replica_id for entry in entries if find(entry, carried)}
