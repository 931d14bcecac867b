"""What is known of every service, and the plan that follows: the controller's whole mind, pure.

``observe_*`` take one message in, O(1) in the fleet; ``decide`` looks at all and returns a Plan,
which the shell carries out. Instants are seconds of the caller's monotonic clock. Routing is soft
state: a new Fleet is right again after one report period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlb.errors import ConflictError
from meshlb.model import CallReport, LoadReport, LoadShare, NodeState, Table
from meshlb.policy.client_record import LEAST_LEASE_S, lease_s
from meshlb.policy.node_record import NodeRecord
from meshlb.policy.service_record import ServiceRecord
from meshlb.settings import Settings

SKEW_LIMIT_S = 10.0
HELD_UP_S, HELD_UP_TICKS = 2.0, 5
"""A controller whose ticks are so far apart, in seconds and in ticks, was held up: meanwhile it has
heard nobody."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One node's state became another; logged by the shell."""

    service: str
    node_id: str
    before: NodeState | None
    after: NodeState | None
    """None: forgotten."""
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now."""

    tables: Mapping[str, Table]
    """Services whose clients are to get a new table: each its whole table."""
    changes: tuple[StateChange, ...]
    report_interval_s: float
    share_interval_s: float


class Fleet:
    """All services of one controller."""

    def __init__(self, settings: Settings, controller_id: str, epoch: int, now: float) -> None:
        self.settings = settings
        self.controller_id = controller_id
        self.epoch = epoch
        self.started_at = self._decided_at = now
        self.services: dict[str, ServiceRecord] = {}
        self.report_interval_s = settings.controller.min_interval_s
        self.share_interval_s = settings.controller.min_interval_s
        self._weigh_interval_s = 0.0
        for name in settings.services:
            self.service(name)

    def service(self, name: str) -> ServiceRecord:
        """Return a service's record, made at its first report or subscription."""
        record = self.services.get(name)
        if record is None:
            record = self.services[name] = ServiceRecord(name, self.settings.of(name))
            record.listens_since = self.started_at
        return record

    # --- reports of nodes ------------------------------------------------------------------

    def observe_report(
        self, report: LoadReport, stream: object, now: float, unix_now_s: float
    ) -> str | None:
        """Take one report in; return a warning for the log, if it calls for one.

        Raises ConflictError, and changes nothing, if another live stream holds the node id or the
        address and this one is not newer.
        """
        service = self.service(report.node.service)
        node = service.nodes.get(report.node.node_id)
        if node is None or node.stream is not stream or report.node.address != node.info.address:
            node = self._claim(service, report, stream, now)
        node.interval_s = self.report_interval_s
        node.take_report(report, now, service.settings.fresh_s)
        if report.observe_time_s is not None and not node.skew_warned:
            skew_s = report.observe_time_s - unix_now_s
            if abs(skew_s) > SKEW_LIMIT_S:
                node.skew_warned = True
                return (
                    f"observe_time = {report.observe_time_s:.0f}: {skew_s:+.0f} s off this clock; "
                    "age counts from receipt"
                )
        return None

    def _claim(
        self, service: ServiceRecord, report: LoadReport, stream: object, now: float
    ) -> NodeRecord:
        info = report.node
        for other in service.nodes.values():
            if info.node_id != other.info.node_id and info.address != other.info.address:
                continue
            same = info.node_id == other.info.node_id
            if same and other.info.incarnation == info.incarnation:
                continue  # the same sidecar, on a new stream
            alive = other.stream is not None and not other.ended
            if alive and info.incarnation <= other.info.incarnation:
                field, value = ("node_id", info.node_id) if same else ("address", info.address)
                raise ConflictError(
                    f"{field} = {value!r} with incarnation {info.incarnation}: held by node "
                    f"{other.info.node_id!r} with incarnation {other.info.incarnation}; a newer "
                    "one takes it over",
                    reason="STALE_INCARNATION" if same else "ADDRESS_IN_USE",
                )
        for node_id in [
            n.info.node_id
            for n in service.nodes.values()
            if n.info.address == info.address and n.info.node_id != info.node_id
        ]:
            service.forget(node_id)
        node = service.nodes.get(info.node_id)
        if node is None or node.info.incarnation != info.incarnation:
            joins = any(n.joined_at < now for n in service.nodes.values())
            slow_start = joins and now - self.started_at > self.settings.controller.grace_s
            node = NodeRecord(info, stream, now, slow_start)
            node.order = service.orders.get(info.node_id)
            service.nodes[info.node_id] = node
        service.membership += 1
        node.stream = stream
        return node

    def goodbye(self, service: str, node_id: str, stream: object, drain: bool) -> None:
        """Note a sidecar's last word: its node is unknown from now on, or withdrawn."""
        node = self.services[service].nodes.get(node_id)
        if node is not None and node.stream is stream:
            node.ended = True
            node.drained = node.drained or drain

    def drain(self, service: str, node_id: str, reason: str) -> None:
        """Withdraw a node, there or still to come, until ``undrain``."""
        record = self.service(service)
        record.orders[node_id] = reason
        node = record.nodes.get(node_id)
        if node is not None:
            node.order = reason

    def undrain(self, service: str, node_id: str) -> None:
        """End an order to withdraw a node; nothing if there is none."""
        record = self.service(service)
        record.orders.pop(node_id, None)
        node = record.nodes.get(node_id)
        if node is not None:
            node.order = None
            if not node.drained:
                node.withdrawn_version = node.withdrawn_at = None

    def stream_lost(self, service: str, node_id: str, stream: object) -> None:
        """Note that a report stream ended; silence does the rest."""
        node = self.services[service].nodes.get(node_id)
        if node is not None and node.stream is stream:
            node.stream = None

    # --- clients ---------------------------------------------------------------------------

    def observe_calls(self, report: CallReport, now: float) -> None:
        """Take one client's counts in."""
        record = self.service(report.service)
        record.observe_calls(report, now)
        if report.applied is not None and report.applied[0] == self.epoch:
            client = record.clients[report.client_id]
            client.counted = report.applied[1]
            client.acked = max(client.acked or 0, client.counted)

    def subscribe(self, service: str, client_id: str, now: float) -> None:
        """Note one more watcher of a client."""
        record = self.service(service)
        client = record.client(client_id, now)
        client.watchers += 1
        record.watching += client.watchers == 1
        record.membership += 1

    def unsubscribe(self, service: str, client_id: str) -> None:
        """Note one watcher less; a client that reports on keeps its record."""
        record = self.services[service]
        client = record.clients.get(client_id)
        if client is not None:
            client.watchers -= 1
            record.watching -= client.watchers == 0

    def acknowledge(self, service: str, client_id: str, epoch: int, version: int) -> None:
        """Note the version that a client applied."""
        client = self.services[service].clients.get(client_id)
        if client is not None and epoch == self.epoch:
            client.acked = max(client.acked or 0, version)

    def share_of(self, service: str, client_id: str, now: float) -> LoadShare | None:
        """Return what one client is to be told of all calls; None if it is not known."""
        record = self.services[service]
        client = record.clients.get(client_id)
        if client is None or record.table is None:
            return None
        admitted = record.admitted.get(client_id)
        return client.share(record.in_flight, record.watching, now, self.share_interval_s, admitted)

    def table_of(self, service: str, client_id: str) -> Table | None:
        """Return the table that one client is to have now; None while there is none."""
        return self.services[service].table_of(client_id)

    # --- deciding --------------------------------------------------------------------------

    def decide(self, now: float) -> Plan:
        """Look at all that is known, bring every service up to ``now``, and say what is to do."""
        controller = self.settings.controller
        running_s = now - self.started_at
        gap_s, self._decided_at = now - self._decided_at, now
        held_up = gap_s > max(HELD_UP_S, HELD_UP_TICKS * controller.tick_s)
        tables: dict[str, Table] = {}
        changes: list[StateChange] = []
        streams = watchers = nodes = 0
        for record in self.services.values():
            if held_up:
                record.deaf_until = now + LEAST_LEASE_S
            record.interval_s = self.share_interval_s  # what clients are told to keep to
            record.lease_s = lease_s(self.share_interval_s)
            record.count(now)
            for node_id, before, after, reason in record.refresh_states(now):
                changes.append(StateChange(record.name, node_id, before, after, reason))
            complete = record.hearsay.look(
                record.nodes, running_s, controller.grace_s, record.settings.forget_s, now
            )
            table = record.next_table(
                now, self.controller_id, self.epoch, complete, self._weigh_interval_s
            )
            if table is not None:
                tables[record.name] = table
            streams += sum(1 for n in record.nodes.values() if n.stream is not None)
            watchers += record.watching
            nodes += len(record.nodes)
        least = controller.min_interval_s
        self.report_interval_s = max(least, streams / controller.reports_per_s)
        self.share_interval_s = max(least, watchers / controller.shares_per_s)
        self._weigh_interval_s = nodes / controller.weighed_per_s
        return Plan(tables, tuple(changes), self.report_interval_s, self.share_interval_s)
