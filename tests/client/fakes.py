"""A controller that says what a test tells it to, and nodes of every arity, on loopback."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent import futures

import grpc

from meshlb import table_wire, wire, wire_time
from meshlb.model import LoadShare, NodeState, Table, TableNode
from meshlb.v1 import balance_pb2, balance_pb2_grpc

SERVICE = "test"
CLOSED = (grpc.StatusCode.UNAVAILABLE, "Socket closed")
"""What gRPC says of a connection that ends under a call."""


class FakeController(balance_pb2_grpc.BalanceServiceServicer):
    """Speaks BalanceService; remembers what it heard, and says only what it is told."""

    def __init__(self, name="c1", credentials=None):
        self.name = name
        self.epoch = time.time_ns() // 1000
        self.version = 0
        self.table = None
        self.port = 0
        self.interval_s = 0.05
        self.subscribed = []
        self.acks = []
        self.reports = []
        self.refuses = False
        self._credentials = credentials
        self._mailboxes = []
        self._server = None
        self._lock = threading.Lock()
        self.start()

    @property
    def address(self):
        return f"localhost:{self.port}" if self._credentials else f"127.0.0.1:{self.port}"

    def start(self):
        server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        balance_pb2_grpc.add_BalanceServiceServicer_to_server(self, server)
        where = f"127.0.0.1:{self.port}"
        self.port = (
            server.add_secure_port(where, self._credentials)
            if self._credentials
            else server.add_insecure_port(where)
        )
        server.start()
        self._server = server

    def stop(self):
        server, self._server = self._server, None
        if server is not None:
            with self._lock:
                for mailbox in self._mailboxes:
                    mailbox.put(None)
            assert server.stop(None).wait(60), "the controller's port is not free yet"

    def push(self, *nodes, complete=True, version=None, **fields):
        """Send a table of these nodes to whoever watches, now and later."""
        self.version = self.version + 1 if version is None else version
        table = Table(
            service=fields.pop("service", SERVICE),
            controller_id=self.name,
            epoch=self.epoch,
            version=self.version,
            complete=complete,
            nodes=tuple(n if isinstance(n, TableNode) else n.info for n in nodes),
            **fields,
        )
        self.push_pb(table_wire.table_to_pb(table))

    def push_pb(self, message):
        with self._lock:
            self.table = message
            for mailbox in self._mailboxes:
                mailbox.put(balance_pb2.WatchRoutesResponse(table=message))

    def push_share(self, share=None, in_flight=None, sequence=0, interval_s=10.0, admitted=None):
        told = LoadShare(share, in_flight or {}, sequence, interval_s, admitted)
        message = table_wire.share_to_pb(told)
        with self._lock:
            for mailbox in self._mailboxes:
                mailbox.put(balance_pb2.WatchRoutesResponse(share=message))

    @property
    def watchers(self):
        return len(self._mailboxes)

    def WatchRoutes(self, requests, context):  # noqa: N802
        if self.refuses:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "NOT_FOR_YOU: go away")
        mailbox = queue.SimpleQueue()
        first = next(requests)
        with self._lock:
            self.subscribed.append(first.subscribe)
            if self.table is not None:
                mailbox.put(balance_pb2.WatchRoutesResponse(table=self.table))
            self._mailboxes.append(mailbox)

        def listen():
            with contextlib.suppress(grpc.RpcError, Exception):
                for request in requests:
                    self.acks.append(request.ack)
            mailbox.put(None)

        context.add_callback(lambda: mailbox.put(None))
        threading.Thread(target=listen, daemon=True).start()
        try:
            yield from iter(mailbox.get, None)
        finally:  # gRPC may drop it at a yield
            with self._lock:
                self._mailboxes.remove(mailbox)

    def ReportCalls(self, requests, context):  # noqa: N802
        yield balance_pb2.ReportCallsResponse(report_interval=wire_time.duration(self.interval_s))
        with contextlib.suppress(Exception):
            for request in requests:
                self.reports.append(wire.call_report_from_pb(request.report))


class Node(grpc.GenericRpcHandler):
    """A model server that echoes in all four arities; ``hook`` may fail or hold a call."""

    def __init__(self, name="a", credentials=None):
        self.name = name
        self.calls = []
        self.metadata = []
        self.peers = set()
        self.hook = lambda method, context: None
        self.after_message = lambda n, context: None
        self.gate = threading.Event()
        self.gate.set()
        self.port = 0
        self._credentials = credentials
        self.extra = lambda server: None
        self._server = None
        self.start()

    def start(self):
        self._server = grpc.server(
            futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers((self,))
        self.extra(self._server)
        where = f"127.0.0.1:{self.port}"
        self.port = (
            self._server.add_secure_port(where, self._credentials)
            if self._credentials
            else self._server.add_insecure_port(where)
        )
        self._server.start()

    def stop(self):
        self.gate.set()
        if self._server is not None:
            assert self._server.stop(None).wait(60), "the node's port is not free yet"
            self._server = None

    @property
    def info(self):
        return TableNode(self.name, 1, f"127.0.0.1:{self.port}", state=NodeState.ACTIVE)

    def _begin(self, method, context):
        self.calls.append(method)
        self.metadata.append(dict(context.invocation_metadata()))
        self.peers.add(context.peer())
        context.set_trailing_metadata((("node", self.name),))
        self.hook(method, context)
        context.send_initial_metadata((("node", self.name),))
        self.gate.wait(100)

    def service(self, details):
        method = details.method.rpartition("/")[2]
        known = getattr(self, f"_{method.lower()}", None)
        return None if known is None else known()

    def _echo(self):
        def handle(request, context):
            self._begin("Echo", context)
            return request

        return grpc.unary_unary_rpc_method_handler(handle)

    def _count(self):
        def handle(request, context):
            self._begin("Count", context)
            for n in range(int(request)):
                yield b"%d" % n
                self.after_message(n, context)

        return grpc.unary_stream_rpc_method_handler(handle)

    def _join(self):
        def handle(requests, context):
            self._begin("Join", context)
            return b",".join(requests)

        return grpc.stream_unary_rpc_method_handler(handle)

    def _chat(self):
        def handle(requests, context):
            self._begin("Chat", context)
            for n, request in enumerate(requests):
                yield request
                self.after_message(n, context)

        return grpc.stream_stream_rpc_method_handler(handle)


def aborting(code, text):
    """A hook of nodes that ends every call so."""
    return lambda method, context: context.abort(code, text)


def cut_after(last, once=None):
    """An ``after_message`` of nodes that breaks the call after message ``last``.

    ``once``: an event that says that the message has arrived, which the break may overtake.
    """

    def cut(n, context):
        if n == last:
            assert once is None or once.wait(60)
            context.abort(*CLOSED)

    return cut


def break_twice(nodes, told):
    """Break the first call once its message 1 has arrived, as ``told`` says; the second at once."""

    def calls():
        return sum(len(node.calls) for node in nodes)

    def break_the_second(method, context):
        if calls() == 2:
            context.abort(*CLOSED)

    def cut_the_first(n, context):
        if calls() == 1:
            cut_after(1, once=told)(n, context)

    for node in nodes:
        node.hook, node.after_message = break_the_second, cut_the_first
