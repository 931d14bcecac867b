"""What the controller knows of one client, and the share that follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from meshlb.model import CallReport, LoadShare
from meshlb.policy.smooth import Smooth

SHARE_SMOOTH_S = 2.0
PRIOR_CALLS = 0.1
"""A client without calls is taken for one of average size, with this many in flight."""
LEASE_INTERVALS = 20
LEAST_LEASE_S = 5.0


class ClientRecord:
    """One client of one service. Written by ``Fleet`` only."""

    __slots__ = (
        "acked", "in_flight", "node_ids", "number", "occupancy", "own", "report_at", "sent_at",
        "sequence", "spent_s", "succeeded", "total", "waiting", "watchers",
    )  # fmt: skip

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.watchers = 0
        self.acked: int | None = None
        """Version of the last table that it applied; None: none yet."""
        self.report_at = now
        self.sequence = 0
        self.in_flight: dict[str, int] = {}
        self.occupancy: dict[str, float] = {}
        """Mean calls in flight by node, between its last two reports."""
        self.spent_s: dict[str, float] = {}
        self.succeeded: dict[str, int] = {}
        self.waiting = 0
        self.node_ids: Sequence[str] = ()
        """Nodes of its table."""
        self.own = Smooth(SHARE_SMOOTH_S)
        self.total = Smooth(SHARE_SMOOTH_S)
        self.sent_at = 0.0

    def live(self, now: float, interval_s: float) -> bool:
        """Return whether its counts still hold: it reported lately."""
        return now - self.report_at <= max(LEAST_LEASE_S, LEASE_INTERVALS * interval_s)

    def take_report(self, report: CallReport, now: float) -> None:
        """Keep the counts; history is kept by the fleet, which sees the nodes."""
        elapsed_s = now - self.report_at
        self.report_at = now
        self.sequence = report.sequence
        self.waiting = report.waiting
        self.in_flight = {n.node_id: n.in_flight for n in report.nodes}
        spent_s = {n.node_id: n.in_flight_time_s for n in report.nodes}
        if elapsed_s > 0:
            self.occupancy = {
                node_id: max(0.0, total - self.spent_s.get(node_id, 0.0)) / elapsed_s
                for node_id, total in spent_s.items()
            }
        self.spent_s = spent_s

    def share(
        self, totals: dict[str, float], clients: int, now: float, interval_s: float
    ) -> LoadShare:
        """Return this client's part of all calls on its nodes, smoothed, with their counts."""
        counts = {node_id: totals.get(node_id, 0.0) for node_id in self.node_ids}
        own = self.own.add(sum(self.in_flight.get(n, 0) for n in self.node_ids), now)
        total = self.total.add(sum(counts.values()), now)
        part = (own + PRIOR_CALLS) / (max(own, total) + PRIOR_CALLS * max(1, clients))
        return LoadShare(
            share=min(1.0, part),
            in_flight=counts,
            counted_sequence=self.sequence,
            interval_s=interval_s,
        )
