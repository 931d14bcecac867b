"""Every tick: ask the fleet for a plan, log what changed, fill the mailboxes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from meshlb.controller.frames import ShareFrames, TableFrames
from meshlb.controller.mailbox import Mailbox
from meshlb.model import LoadShare
from meshlb.policy.fleet import Fleet, Plan

log = structlog.get_logger()

RESEND_INTERVALS = 3
"""An unchanged share is sent again after so many intervals; clients drop counts after 5."""


class Watcher:
    """One WatchRoutes stream, as the ticker sees it."""

    __slots__ = ("client_id", "due_at", "mailbox", "sent", "sent_at", "service")

    def __init__(self, service: str, client_id: str) -> None:
        self.service = service
        self.client_id = client_id
        self.mailbox = Mailbox()
        self.due_at = 0.0
        self.sent: LoadShare | None = None
        self.sent_at = 0.0


class Ticker:
    """Runs the fleet's decisions. ``watchers`` is kept by the balance service."""

    def __init__(
        self, fleet: Fleet, tick_s: float, after: Callable[[float], object] = lambda _: None
    ) -> None:
        """``after`` is called with ``now`` after each tick."""
        self.fleet = fleet
        self._after = after
        self.watchers: set[Watcher] = set()
        self._tick_s = tick_s

    async def run(self) -> None:
        """Tick until cancelled; a decision that fails is logged, and the last tables stay."""
        while True:
            started = time.monotonic()
            try:
                self.tick(started)
            except Exception:
                log.exception("tick_failed")
            spent_s = time.monotonic() - started
            # A tick that takes long leaves as much time to the streams, else nothing new comes in.
            await asyncio.sleep(max(0.001, spent_s, self._tick_s - spent_s))

    def tick(self, now: float) -> None:
        """Decide once, and hand out what follows."""
        plan = self.fleet.decide(now)
        for change in plan.changes:
            log.info(
                "node_state",
                service=change.service,
                node=change.node_id,
                before=change.before.value if change.before else None,
                after=change.after.value if change.after else "forgotten",
                reason=change.reason,
            )
        self._publish(plan)
        frames: dict[str, ShareFrames] = {}
        for watcher in self.watchers:
            if now >= watcher.due_at:
                self._share(watcher, now, plan.share_interval_s, frames)
        self._after(now)

    def give_table(self, watcher: Watcher) -> None:
        """Give a new watcher the table that is out, if there is one."""
        table = self.fleet.table_of(watcher.service, watcher.client_id)
        if table is not None:
            watcher.mailbox.put_table(TableFrames(table).frame(table))

    def _publish(self, plan: Plan) -> None:
        frames: dict[str, TableFrames] = {}
        alike: dict[str, bytes] = {}
        """Frames of whole tables: below the subset size all clients get the same."""
        for service, table in plan.tables.items():
            frames[service] = TableFrames(table)
            log.debug(
                "table_published", service=service, version=table.version, nodes=len(table.nodes)
            )
        for watcher in self.watchers:
            service = watcher.service
            whole = plan.tables.get(service)
            if whole is None:
                continue
            own = self.fleet.table_of(service, watcher.client_id) or whole
            if own is not whole:
                watcher.mailbox.put_table(frames[service].frame(own))
                continue
            if service not in alike:
                alike[service] = frames[service].frame(whole)
            watcher.mailbox.put_table(alike[service])

    def _share(
        self, watcher: Watcher, now: float, interval_s: float, frames: dict[str, ShareFrames]
    ) -> None:
        # Half a tick early is on time; the next one counts from when this was due.
        watcher.due_at = max(watcher.due_at + interval_s, now + interval_s - self._tick_s / 2)
        share = self.fleet.share_of(watcher.service, watcher.client_id, now)
        if share is None:
            return
        sent = watcher.sent
        if (
            sent is not None
            and now - watcher.sent_at < RESEND_INTERVALS * interval_s
            and sent.in_flight == share.in_flight
            and abs((sent.share or 0.0) - (share.share or 0.0)) < 0.02 * (share.share or 1.0)
            and int(sent.admitted or 0) == int(share.admitted or 0)
        ):
            return
        watcher.sent, watcher.sent_at = share, now
        made = frames.get(watcher.service) or frames.setdefault(watcher.service, ShareFrames())
        watcher.mailbox.put_share(made.frame(share))
