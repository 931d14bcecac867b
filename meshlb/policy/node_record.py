"""What the controller knows of one node, and the state that follows from it."""

from __future__ import annotations

from meshlb.model import Health, LatencyBucket, LoadReport, NodeInfo, NodeState
from meshlb.policy.outcomes import Outcomes
from meshlb.policy.smooth import Smooth
from meshlb.policy.speed import SpeedLearner

FRESH_INTERVALS = 5
SMOOTH_S = 2.0

REPORTS = (NodeState.ACTIVE, "reports")

Sums = dict[int, tuple[int, float]]


class NodeRecord:
    """One node. Written by ``Fleet`` only."""

    __slots__ = (
        "calls_at", "calls_ended", "calls_s", "declared_slots", "drained", "ended", "external",
        "in_flight", "info", "interval_s", "joined_at", "learner", "order", "outcomes", "ramped_at",
        "report", "report_at", "reported_since", "server_sums", "skew_warned", "slots_order",
        "slow_start", "smoothed", "stream", "withdrawn_at", "withdrawn_version",
    )  # fmt: skip

    def __init__(self, info: NodeInfo, stream: object, now: float, slow_start: bool) -> None:
        self.info = info
        self.stream: object | None = stream
        """The report stream that speaks for the node; None: its sidecar is gone."""
        self.report: LoadReport | None = None
        self.report_at = now
        self.reported_since = now
        self.interval_s = 1.0
        """Report interval last ordered."""
        self.joined_at = now
        self.slow_start = slow_start
        self.ramped_at = now
        """Since when its weight grows."""
        self.drained = False
        """Withdrawn by its sidecar's last word."""
        self.order: str | None = None
        """Why it is withdrawn by an order; None: there is none."""
        self.slots_order: int | None = None
        """Slots that its server is to have; None: those that it was started with."""
        self.declared_slots = info.slots
        """Slots that its server was started with; None: not declared."""
        self.ended = False
        """Its sidecar said goodbye."""
        self.withdrawn_at: float | None = None
        """When a table first showed it as draining."""
        self.withdrawn_version: int | None = None
        """First version of a table that shows it as draining."""
        self.calls_at = now
        """When a client last told of a call that ended well here."""
        self.calls_ended = 0
        """Calls that ended well since the last tick, as clients told."""
        self.calls_s = 0.0
        """Calls in flight summed over the time that these clients told of."""
        """Clients' calls that ended well since the last tick."""
        self.in_flight = 0.0
        """All clients' calls here at the last tick, and those of others that the server sees."""
        self.smoothed = Smooth(SMOOTH_S)
        self.external = Smooth(SMOOTH_S)
        self.learner = SpeedLearner()
        self.server_sums: Sums = {}
        self.skew_warned = False
        self.outcomes = Outcomes()

    def state(self, now: float, fresh_s: float) -> tuple[NodeState, str]:
        """Return what tables are to say, and why."""
        if self.drained:
            return NodeState.DRAINING, "withdrawn by its sidecar"
        if self.order is not None:
            return NodeState.DRAINING, f"withdrawn: {self.order}"
        if self.outcomes.ejection is not None:
            return NodeState.EJECTED, self.outcomes.ejection.reason
        if self.ended:
            return NodeState.UNKNOWN, "its sidecar said goodbye"
        if not self.heard(now, fresh_s):
            return NodeState.UNKNOWN, f"no report for more than {fresh_s:g} s"
        if self.report is not None and self.report.health is Health.NOT_SERVING:
            return NodeState.UNHEALTHY, "its health check fails"
        return REPORTS

    def heard(self, now: float, fresh_s: float) -> bool:
        """Return whether its last report is not too old to go by."""
        return now - self.report_at <= max(fresh_s, FRESH_INTERVALS * self.interval_s)

    def steady(self, now: float, fresh_s: float) -> bool:
        """Return whether ``state`` is surely REPORTS: a cheap look, for most nodes at most times.

        It is, in doubt, not; ``fresh_s`` may be shorter than that of ``state``.
        """
        report = self.report
        return (
            report is not None
            and now - self.report_at <= fresh_s
            and report.health is not Health.NOT_SERVING
            and self.outcomes.ejection is None
            and not self.withdrawn
            and not self.ended
        )

    @property
    def withdrawn(self) -> bool:
        """Whether it is to take no new calls."""
        return self.drained or self.order is not None

    @property
    def limit(self) -> int | None:
        """Calls of one client at once: the slots ordered, once its server has them."""
        ordered = self.slots_order
        return ordered if ordered is not None and ordered == self.info.slots else None

    def take_report(self, report: LoadReport, now: float, fresh_s: float) -> None:
        """Keep the newest report; learn from the server's own latencies, which are exact."""
        if self.report is None or not self.heard(now, fresh_s):
            self.reported_since = now
        self.info = report.node
        if self.slots_order is None:
            self.declared_slots = self.info.slots
        self.report = report
        self.report_at = now
        self.ended = False
        if report.latency:
            fresh = self.server_sums or {b.in_flight: (b.count, b.sum_s) for b in report.latency}
            self.server_sums, new = differences(fresh, report.latency)
            self.learner.observe(new, now)

    def count(
        self, clients: float, mean: float, now: float, fresh_s: float, *, learns: bool = True
    ) -> float:
        """Note the clients' calls here, now and in the mean since the last time.

        Without ``learns`` what passed through since then is not known to be of that time.
        The server's own count adds those that bypass meshlb. Return all calls in flight.
        """
        report = self.report
        seen = None if report is None else report.in_flight
        beside = 0.0
        if seen is not None and now - self.report_at <= fresh_s:
            beside = self.external.add(seen - clients if seen > clients else 0.0, now)
        if learns:
            self.learner.observe_flow(mean, self.calls_s, self.calls_ended, now, beside)
        self.calls_ended, self.calls_s = 0, 0.0
        clients += beside
        self.in_flight = clients
        self.smoothed.add(clients, now)
        return clients


def differences(old: Sums, buckets: tuple[LatencyBucket, ...]) -> tuple[Sums, list[LatencyBucket]]:
    """Return the sums now, and the calls that are new since ``old``.

    A count that fell means that the reporter began anew: all of its calls are new then.
    """
    sums: Sums = {}
    new = []
    for bucket in buckets:
        count, total_s = old.get(bucket.in_flight, (0, 0.0))
        if bucket.count < count:
            count, total_s = 0, 0.0
        sums[bucket.in_flight] = (bucket.count, bucket.sum_s)
        if bucket.count > count:
            added_s = max(0.0, bucket.sum_s - total_s)
            new.append(LatencyBucket(bucket.in_flight, bucket.count - count, added_s))
    return sums, new
