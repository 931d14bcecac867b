"""A fleet, its clients and its nodes, driven by messages of any content, with laws that must hold.

Whatever is taken in and whatever is refused: nothing but a MeshlbError is raised, and every table
and share that the fleet publishes is one that a client takes and can pick from.
"""

import random

from meshlb import plugins, table_wire, wire
from meshlb.client.node import LinkState, Outcome
from meshlb.client.routes import Routes
from meshlb.client.subscription import Subscription
from meshlb.client.target import parse
from meshlb.client.view import PICKERS, View
from meshlb.controller import status
from meshlb.controller.frames import ShareFrames, TableFrames
from meshlb.errors import MeshlbError
from meshlb.model import NodeState
from meshlb.policy.fleet import Fleet
from meshlb.settings import Settings
from meshlb.v1 import balance_pb2
from tests.fuzz.messages import made, one_of

SERVICES, NODES, CLIENTS = ("s", "t"), ("a", "b", "c"), ("client 1", "client 2")
PASSED_S = (0.0, 0.01, 0.1, 0.1, 0.1, 0.6, 4.0, 70.0, 1e6)
REQUESTS = {
    "load": balance_pb2.ReportLoadRequest,
    "calls": balance_pb2.ReportCallsRequest,
    "watch": balance_pb2.WatchRoutesRequest,
}
PICKABLE = (NodeState.ACTIVE, NodeState.UNKNOWN)


class _Link:
    """A connection that is there at once."""

    def __init__(self, routes, node):
        self._routes, self._node = routes, node

    def connect(self):
        self._routes.link_changed(self._node, self, LinkState.READY)

    def close(self):
        pass

    def probe(self, answered):
        answered()

    close_soon = close


class Client:
    """What a caller's process makes of what it is sent, with a view for every picker."""

    def __init__(self, service="s", picker=None, params=None):
        self.routes = Routes(service, "client 1", _Link, random.Random(1))
        target = parse(f"mesh://h:1/{service}")
        self._subscription = Subscription(self.routes, target, None, "")
        self._views = [View(self.routes, picker, params)]
        self._views += [View(self.routes, name, zone="z") for name in plugins.names(PICKERS)]

    def take(self, message):
        """Take a WatchRoutesResponse; return why it was refused, "" if it was not."""
        if message.HasField("table"):
            return self._subscription._take_table(message.table).ack.error
        self._subscription._take_share(message)
        return ""

    def call(self, now):
        """Pick with every picker, and end the calls; return what was picked."""
        picked = []
        for view in self._views:
            for tried in ((), picked[:1]):
                view.refresh()
                node = view.begin(now, tried)
                if node is not None:
                    picked.append(node)
        for at, node in enumerate(picked):
            outcome = (Outcome.OK, Outcome.FAILED, Outcome.OK, Outcome.REFUSED)[at % 4]
            self.routes.end(node, 0.01 * at, outcome, now + at)
        self.routes.expire(now)
        wire.call_report_from_pb(wire.call_report_to_pb(self.routes.call_report(now + 1)))
        return picked


class World:
    """One fleet. ``step`` does one thing to it that a peer, an operator or time may do."""

    def __init__(self, settings=None):
        self.now = 1000.0
        self.fleet = Fleet(settings or Settings(), "controller", 7, self.now)
        self.taken = self.refused = self.published = 0
        self._last = {(kind, at): wire.Last() for kind in REQUESTS for at in range(2)}

    def step(self, source):
        """Do one thing."""
        kind = source.below(10)
        if kind < 6:
            name = one_of(source, ("load", "load", "load", "calls", "calls", "watch"))
            request = made(REQUESTS[name].DESCRIPTOR, source)
            self.take(name, request, source.below(2))
        elif kind < 7:
            self._order(source)
        else:
            self.now += one_of(source, PASSED_S)
            self.decide()

    def take(self, name, request, stream):
        """Take one request in as the controller's service does; nothing of it if it is wrong."""
        try:
            getattr(self, f"_{name}")(request, stream, self._last[name, stream])
        except MeshlbError:
            self.refused += 1
        else:
            self.taken += 1

    def decide(self):
        """Let the fleet decide, and look at all that it tells."""
        plan = self.fleet.decide(self.now)
        self.published += len(plan.tables)
        assert 0 < plan.report_interval_s < 1e9
        assert 0 < plan.share_interval_s < 1e9
        for name, record in self.fleet.services.items():
            status.service_status(record).SerializeToString()
            for one in status.node_statuses(record, self.now):
                one.SerializeToString()
            for client_id in CLIENTS:
                self._look(name, client_id)

    # --- what peers say --------------------------------------------------------------------

    def _load(self, request, stream, last):
        report = wire.load_report_from_pb(request.report, last)
        self.fleet.observe_report(report, stream, self.now, self.now)
        key = report.node.service, report.node.node_id
        if request.HasField("goodbye"):
            self.fleet.goodbye(*key, stream, request.goodbye.drain)
            self.fleet.stream_lost(*key, stream)

    def _calls(self, request, stream, last):
        del stream
        self.fleet.observe_calls(wire.call_report_from_pb(request.report, last), self.now)

    def _watch(self, request, stream, last):
        del last
        if request.WhichOneof("message") == "subscribe":
            table_wire.check_subscribe(request.subscribe)
            self.fleet.subscribe(request.subscribe.service, request.subscribe.client_id, self.now)
        elif request.WhichOneof("message") == "ack" and self.fleet.services:
            service = sorted(self.fleet.services)[stream % len(self.fleet.services)]
            ack = request.ack
            self.fleet.acknowledge(service, CLIENTS[stream], ack.epoch, ack.version)

    def _order(self, source):
        service, node_id = one_of(source, SERVICES), one_of(source, NODES)
        if source.below(2):
            self.fleet.drain(service, node_id, "why not")
        else:
            self.fleet.undrain(service, node_id)

    # --- what is told ----------------------------------------------------------------------

    def _look(self, service, client_id):
        table = self.fleet.table_of(service, client_id)
        if table is None:
            return
        client = Client(service)
        frame = TableFrames(table).frame(table)
        message = balance_pb2.WatchRoutesResponse.FromString(frame)
        problem = client.take(message)
        assert not problem, problem
        assert [n.node_id for n in client.routes.table.nodes] == [n.node_id for n in table.nodes]
        share = self.fleet.share_of(service, client_id, self.now)
        if share is not None:
            message = balance_pb2.WatchRoutesResponse.FromString(ShareFrames().frame(share))
            table_wire.share_from_pb(message.share)
            client.take(message)
        picked = client.call(self.now)
        assert picked or all(n.state not in PICKABLE for n in table.nodes)
