"""One service as the controller knows it: its nodes, its clients, and the table it has out.

Long because these three are one state, which changes together.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshlb import plugins
from meshlb.model import CallReport, NodeState, Table, TableNode
from meshlb.policy import hysteresis, subsets
from meshlb.policy.admission import share_out, usable
from meshlb.policy.call_flow import CallFlow
from meshlb.policy.client_record import LEAST_LEASE_S, ClientRecord
from meshlb.policy.ejection import Ejector
from meshlb.policy.hearsay import Hearsay
from meshlb.policy.node_record import REPORTS, NodeRecord
from meshlb.policy.pooling import pooled
from meshlb.policy.sound import spared
from meshlb.policy.table_parts import TableParts
from meshlb.policy.weights import Seen, normalised
from meshlb.settings import WEIGHTS, ServiceSettings

SLOW_START_FLOOR = 0.1
QUIET_INTERVALS = 3
"""A client that says nothing for so long has the calls in flight that it said last."""


class ServiceRecord:
    """One service. Written by ``Fleet`` only."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self.nodes: dict[str, NodeRecord] = {}
        self.clients: dict[str, ClientRecord] = {}
        self.watching = 0
        """Clients with a watcher."""
        self.in_flight: dict[str, float] = {}
        """Calls in flight by node at the last tick."""
        self._called: dict[str, int] = {}
        """All clients' calls in flight by node, as last reported; nodes without any left out."""
        self.states: dict[str, tuple[NodeState, str]] = {}
        self.orders: dict[str, str] = {}
        """Why nodes are withdrawn by order, by node; also of nodes that are not there yet."""
        self.admitted: dict[str, float] = {}
        """Each client's part of the calls that may be in flight; empty where there is no limit."""
        self.flow = CallFlow()
        """All clients' calls a second, and how long they take."""
        self.membership = 0
        """Grows when nodes, their addresses or watchers come or go."""
        self.interval_s = 0.0
        """What its clients are told to report at."""
        self.lease_s = LEAST_LEASE_S
        """How long the counts of a client hold that falls silent."""
        self.deaf_until = 0.0
        """Before that who is silent may just not have been heard."""
        self.listens_since = 0.0
        """When the controller began to hear of it."""
        self.hearsay = Hearsay()
        self.starting = False
        """Whether nodes start that are not here yet, as scaling says."""
        self.table: Table | None = None
        self._table_at = 0.0
        self._moved = False
        """Whether a node's state changed since it was last compared with the table."""
        self._seen = 0
        """Membership when it was."""
        self._parts = TableParts(settings.subset_size)
        self._ejector = Ejector(settings)
        weights = plugins.load(WEIGHTS, settings.weight)
        self._weight = weights.weight
        self._weight_params = weights.Params(**settings.weight_params)

    def client(self, client_id: str, now: float) -> ClientRecord:
        """Return a client's record, made if it is new."""
        client = self.clients.get(client_id)
        if client is None:
            number = subsets.free_number(c.number for c in self.clients.values())
            client = self.clients[client_id] = ClientRecord(number, now)
        return client

    def forget(self, node_id: str) -> None:
        """Drop a node."""
        del self.nodes[node_id]
        self.membership += 1

    def observe_calls(self, report: CallReport, now: float) -> None:
        """Take one client's counts in, and learn speeds from the calls that are new."""
        client = self.client(report.client_id, now)
        known = client.sequence > 0  # else its sums hold calls from before this controller's time
        if known:
            self.flow.observe(client.calls, report)
        for node_id, calls, in_flight, spent_s in client.take_report(report, now, self.interval_s):
            if in_flight and client.summed:
                self._add(node_id, in_flight)
            if calls is None:
                client.suspects.pop(node_id, None)
                client.succeeded.pop(node_id, None)
                client.failed.pop(node_id, None)
                continue
            if calls.suspicion:
                client.suspects[node_id] = calls.suspicion
            elif client.suspects:
                client.suspects.pop(node_id, None)
            ended = calls.succeeded - client.succeeded.get(node_id, 0)
            client.succeeded[node_id] = calls.succeeded
            failed = 0
            if calls.failed:
                failed = calls.failed - client.failed.get(node_id, 0)
                client.failed[node_id] = calls.failed
            node = self.nodes.get(node_id)
            if node is None:
                if known and ended > 0:
                    self.hearsay.called(node_id, now)
                continue
            if known:
                node.calls_s += spent_s
                if ended > 0 or failed > 0:
                    node.outcomes.add(max(0, ended), max(0, failed))
            if ended > 0:
                node.calls_at = now
                node.calls_ended += ended if known else 0

    def _add(self, node_id: str, calls: int) -> None:
        """Count so many calls more (or less) in flight at a node."""
        total = self._called.get(node_id, 0) + calls
        if total:
            self._called[node_id] = total
        else:
            self._called.pop(node_id, None)

    def count(self, now: float) -> None:
        """Add up the calls in flight of all clients that reported lately; drop the others."""
        means: dict[str, float] = {}
        gone = []
        for client_id, client in self.clients.items():
            live = client.live(now, self.lease_s)
            if live != client.summed:
                client.summed = live
                for node_id, own in client.in_flight.items():
                    self._add(node_id, own if live else -own)
            if live:
                quiet = now - client.report_at > QUIET_INTERVALS * self.interval_s
                for node_id, mean in (client.in_flight if quiet else client.occupancy).items():
                    means[node_id] = means.get(node_id, 0.0) + mean
            elif client.watchers <= 0:
                gone.append(client_id)
        for client_id in gone:
            del self.clients[client_id]
        called, fresh_s = self._called, self.settings.fresh_s
        heard = now >= self.deaf_until  # else what queued up meanwhile came in no time
        self.in_flight = {
            node_id: node.count(
                float(called.get(node_id, 0)), means.get(node_id, 0.0), now, fresh_s, learns=heard
            )
            for node_id, node in self.nodes.items()
        }
        if heard:
            self.flow.tick(now)
        else:
            self.flow.skip(now)
        self._eject(now, self.interval_s)
        self._admit(now)

    def _eject(self, now: float, interval_s: float) -> None:
        heard = [client for client in self.clients.values() if client.summed]
        watching = sum(1 for client in heard if client.watchers > 0)
        self._ejector.decide(
            self.nodes,
            heard,
            now,
            interval_s,
            # Who has lost most of the clients' reports knows too little.
            heard=now >= self.deaf_until and 2 * watching >= self.watching,
        )

    def _admit(self, now: float) -> None:
        """Part the calls that may be in flight among the clients."""
        limits = self.settings.limits(1)
        # Before that it may know few of the nodes and clients; these keep what they were last told.
        if limits is not None and self.hearsay.complete:
            nodes = usable(state for state, _ in self.states.values())
            wanted = {
                client_id: float(sum(client.in_flight.values()) + client.waiting)
                for client_id, client in self.clients.items()
                if client.watchers > 0 and client.live(now, self.lease_s)
            }
            self.admitted = share_out(float(limits.capacity(nodes) or 0), wanted)

    def refresh_states(
        self, now: float
    ) -> Iterator[tuple[str, NodeState | None, NodeState | None, str]]:
        """Bring every node's state up to ``now``, forget those long gone; yield what changed."""
        steady_s = min(self.settings.fresh_s, self.settings.forget_s)
        for node_id, node in list(self.nodes.items()):
            if self.states.get(node_id) is REPORTS and node.steady(now, steady_s):
                continue
            why = None if now < self.deaf_until else self._forgettable(node, now)
            if why:
                self._moved = True
                before, _ = self.states.pop(node_id, (None, ""))
                self.forget(node_id)
                self.in_flight.pop(node_id, None)
                yield node_id, before, None, why
                continue
            state = node.state(now, self.settings.fresh_s)
            before, _ = self.states.get(node_id, (None, ""))
            self.states[node_id] = state
            if before is not state[0]:
                self._moved = True
                yield node_id, before, state[0], state[1]
        for node_id in self.states.keys() - self.nodes.keys():
            before, _ = self.states.pop(node_id)
            self._moved = True
            yield node_id, before, None, "its address was taken over"

    def _forgettable(self, node: NodeRecord, now: float) -> str | None:
        forget_s = self.settings.forget_s
        silent = node.ended or now - node.report_at > forget_s
        if node.withdrawn and node.withdrawn_version is not None and node.ended:
            watching = [c.acked or 0 for c in self.clients.values() if c.watchers > 0]
            seen_by_all = min(watching, default=node.withdrawn_version) >= node.withdrawn_version
            if node.in_flight <= 0 and seen_by_all:
                return "withdrawn, and its last call has ended"
        if silent and now - max(node.report_at, node.calls_at) > forget_s:
            return f"silent, and no call succeeded there, for {forget_s:g} s"
        return None

    def next_table(
        self, now: float, controller_id: str, epoch: int, complete: bool, weigh_interval_s: float
    ) -> Table | None:
        """Return a new table if clients need one, and keep it; None if the one out will do.

        Weights and speeds alone are looked at every ``weigh_interval_s``, or as seldom as the
        settings say. A controller that has just started and knows no node yet has no table:
        clients wait, or keep what another gave them.
        """
        if not self.nodes and not complete:
            return None
        old = self.table
        if old is not None and not self._due(old, now, complete, weigh_interval_s):
            return None
        nodes = self._table_nodes(now)
        if old is not None and (old.complete, old.starting) == (complete, self.starting):
            changed = hysteresis.structure_changed(old.nodes, nodes)
            if not changed:
                self._table_at = now  # looked at: again after the interval
                if not hysteresis.figures_moved(old.nodes, nodes, self.settings.publish_change):
                    return None
        self.table = Table(
            service=self.name,
            controller_id=controller_id,
            epoch=epoch,
            version=1 if old is None else old.version + 1,
            complete=complete,
            nodes=nodes,
            picker=self.settings.picker,
            idempotent_methods=self.settings.idempotent_methods,
            starting=self.starting,
            limits=self.settings.limits(max(1, self.watching)),
        )
        self._table_at = now
        for node in nodes:
            record = self.nodes[node.node_id]
            if node.state is NodeState.DRAINING and record.withdrawn_version is None:
                record.withdrawn_version = self.table.version
                record.withdrawn_at = now
        return self.table

    def _due(self, old: Table, now: float, complete: bool, weigh_interval_s: float) -> bool:
        """Return whether the figures are to be looked at, or something else surely changed."""
        interval_s = max(self.settings.publish_interval_s, weigh_interval_s)
        if now - self._table_at >= interval_s or old.complete != complete:
            return True
        if old.starting != self.starting:
            return True
        if not self._moved and self.membership == self._seen:
            return False
        self._moved, self._seen = False, self.membership
        if len(old.nodes) != len(self.nodes):
            return True
        for node in old.nodes:
            record = self.nodes.get(node.node_id)
            if (
                record is None
                or node.state is not self.states[node.node_id][0]
                or node.incarnation != record.info.incarnation
                or node.address != record.info.address
            ):
                return True
        return False

    def _table_nodes(self, now: float) -> tuple[TableNode, ...]:
        curves = pooled(
            {key: n.learner.curve(now, n.info.slots) for key, n in self.nodes.items()},
            {key: n.learner.calls for key, n in self.nodes.items()},
        )
        raw: dict[str, float | None] = {}
        for key, node in self.nodes.items():
            report = node.report
            used = None if report is None else report.application
            seen = Seen(
                curve=curves[key],
                in_flight=node.smoothed.value,
                utilization=report.host_cpu if report is not None and used is None else used,
                requests_per_s=None if report is None else report.requests_per_s,
                errors_per_s=None if report is None else report.errors_per_s,
                reported_for_s=node.report_at - node.reported_since,
                report_age_s=now - node.report_at,
            )
            raw[key] = self._weight(seen, self._weight_params)
        weights = normalised(raw)
        least = min((n.outcomes.failing for n in self.nodes.values()), default=0.0)
        return tuple(
            TableNode(
                node_id=key,
                incarnation=node.info.incarnation,
                address=node.info.address,
                authority=node.info.authority,
                state=self.states[key][0],
                weight=weights[key]
                * self._slow_start(node, now)
                * (1.0 - spared(node.outcomes.failing, least)),
                curve=curves[key],
                slots=node.info.slots,
                zone=node.info.zone,
                limit=node.limit,
            )
            for key, node in sorted(self.nodes.items())
        )

    def _slow_start(self, node: NodeRecord, now: float) -> float:
        window_s = self.settings.slow_start_s
        if not node.slow_start or window_s <= 0:
            return 1.0
        return min(1.0, max(SLOW_START_FLOOR, (now - node.ramped_at) / window_s))

    def table_of(self, client_id: str) -> Table | None:
        """Return one client's table: the whole one, or its own stable subset of it."""
        table = self.table
        client = self.clients.get(client_id)
        if table is None or client is None:
            return table
        return self._parts.of(table, client)
