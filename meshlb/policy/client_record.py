"""What the controller knows of one client, and the share that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from meshlb.model import CallReport, LoadShare, NodeCalls
from meshlb.policy.smooth import Smooth

SHARE_SMOOTH_S = 2.0
PRIOR_CALLS = 0.1
"""A client without calls is taken for one of average size, with this many in flight."""
LEASE_INTERVALS = 20
LEAST_LEASE_S = 5.0

Change = tuple[str, NodeCalls | None, int, float]
"""What a report says anew of one node: its id; its entry (None: no longer there); calls in flight
less those in the report before; calls in flight summed over the time since then."""


def lease_s(interval_s: float) -> float:
    """Return how long the counts of a client hold that is to report so often."""
    return max(LEAST_LEASE_S, LEASE_INTERVALS * interval_s)


class ClientRecord:
    """One client of one service. Written by ``Fleet`` only."""

    __slots__ = (
        "acked", "calls", "counted", "failed", "in_flight", "node_ids", "number", "occupancy",
        "own", "report_at", "sent_at", "sequence", "succeeded", "summed", "suspects", "total",
        "waiting", "watchers",
    )  # fmt: skip

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.watchers = 0
        self.acked: int | None = None
        """Version of the last table that it applied; None: none yet."""
        self.counted: int | None = None
        """Version of the table in effect when it last counted its calls; None: not told yet."""
        self.report_at = now
        self.sequence = 0
        self.calls: dict[str, NodeCalls] = {}
        """Its last report, by node."""
        self.summed = True
        """Whether its calls in flight are in the service's count."""
        self.in_flight: dict[str, int] = {}
        """Calls in flight by node; nodes without any are left out."""
        self.occupancy: dict[str, float] = {}
        """Mean calls in flight by node, between its last two reports; likewise."""
        self.succeeded: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.suspects: dict[str, str] = {}
        """Nodes that it leaves alone, and why."""
        self.waiting = 0
        self.node_ids: Sequence[str] = ()
        """Nodes of its table."""
        self.own = Smooth(SHARE_SMOOTH_S)
        self.total = Smooth(SHARE_SMOOTH_S)
        self.sent_at = 0.0

    def live(self, now: float, lease_s: float) -> bool:
        """Return whether its counts still hold: it reported lately."""
        return now - self.report_at <= lease_s

    def take_report(self, report: CallReport, now: float, interval_s: float = 0.0) -> list[Change]:
        """Keep the counts; return those that changed since the last report.

        ``interval_s`` is what it is told to keep to: reports that come sooner have queued up
        somewhere, and the time between them is not that which their counts are of.

        History is kept by the fleet, which sees the nodes. An entry that is the very object that
        it was last time is not looked at, so a report costs what moved in it.
        """
        elapsed_s = max(now - self.report_at, interval_s)
        self.report_at = now
        self.sequence = report.sequence
        self.waiting = report.waiting
        known, in_flight = self.calls, self.in_flight
        changes: list[Change] = []
        for calls in report.nodes:
            node_id = calls.node_id
            before = known.get(node_id)
            if before is calls:
                continue
            known[node_id] = calls
            more, spent_s = calls.in_flight, calls.in_flight_time_s
            if more:
                in_flight[node_id] = more
            elif before is not None and before.in_flight:
                del in_flight[node_id]
            if before is not None:
                more -= before.in_flight
                spent_s -= before.in_flight_time_s
            changes.append((node_id, calls, more, max(0.0, spent_s)))
        if len(known) != len(report.nodes):
            for node_id in known.keys() - {calls.node_id for calls in report.nodes}:
                changes.append((node_id, None, -known.pop(node_id).in_flight, 0.0))
                in_flight.pop(node_id, None)
        if elapsed_s > 0:
            self.occupancy = {one[0]: one[3] / elapsed_s for one in changes if one[3]}
        return changes

    def share(
        self,
        totals: dict[str, float],
        clients: int,
        now: float,
        interval_s: float,
        admitted: float | None = None,
    ) -> LoadShare:
        """Return this client's part of all calls on its nodes, smoothed, with their counts."""
        ids = self.node_ids
        counts = dict(zip(ids, map(totals.get, ids, repeat(0.0)), strict=True))
        own = self.own.add(sum(map(self.in_flight.get, ids, repeat(0))), now)
        total = self.total.add(sum(counts.values()), now)
        part = (own + PRIOR_CALLS) / (max(own, total) + PRIOR_CALLS * max(1, clients))
        return LoadShare(
            share=min(1.0, part),
            in_flight=counts,
            counted_sequence=self.sequence,
            interval_s=interval_s,
            admitted=admitted,
        )
