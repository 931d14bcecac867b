"""A real controller in a loop of its own thread, and what speaks to it."""

import asyncio
import contextlib
import itertools
import queue
import threading
import time

import grpc
import pytest

from meshlb import plugins, wire
from meshlb.controller.app import Controller
from meshlb.model import CallReport, LoadReport, NodeCalls, NodeInfo
from meshlb.v1 import balance_pb2, balance_pb2_grpc, scale_pb2_grpc

# All extensions now: pytest rewrites what is imported, which Python 3.11 cannot do in two threads
# at once, and a controller would load them in its own.
for package in ("policy.rules", "policy.pickers", "policy.weights", "actuators"):
    for name in plugins.names(f"meshlb.{package}"):
        plugins.load(f"meshlb.{package}", name)


class Running:
    """One controller, its stubs, and streams to it."""

    def __init__(self, settings, state=None, listen="127.0.0.1:0"):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.app = Controller(settings, listen, state)
        self._exits = contextlib.ExitStack()
        try:
            self.wait(self.app.start())
        except BaseException:
            self._end_loop()
            raise
        self.address = f"127.0.0.1:{self.app.port}"
        self.channel = self._exits.enter_context(grpc.insecure_channel(self.address))
        self.balance = balance_pb2_grpc.BalanceServiceStub(self.channel)
        self.scale = scale_pb2_grpc.ScaleServiceStub(self.channel)

    def wait(self, step):
        return asyncio.run_coroutine_threadsafe(step, self.loop).result(20)

    def stop(self):
        self._exits.close()
        self.wait(self.app.stop())
        self._end_loop()

    def _end_loop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def open(self, method):
        """Open a stream; requests are sent one by one, and all end with the controller."""
        asks = queue.SimpleQueue()
        call = method(iter(asks.get, None))
        self._exits.callback(call.cancel)
        self._exits.callback(asks.put, None)
        call.send = asks.put
        return call

    def node(self, node_id, service="s", **figures):
        """Report for a node, over and over; return a function that ends that."""
        return _Repeating(self, self.balance.ReportLoad, lambda: load(node_id, service, **figures))

    def client(self, client_id, service="s"):
        """Watch and report as a stub does."""
        return _Client(self, client_id, service)


def load(node_id, service="s", address=None, **figures):
    port = 10_000 + sum(map(ord, node_id)) % 50_000
    info = NodeInfo(service, node_id, 1, address or f"127.0.0.1:{port}", slots=4)
    report = LoadReport(info, observe_time_s=time.time(), **figures)
    return balance_pb2.ReportLoadRequest(report=wire.load_report_to_pb(report))


class _Repeating:
    def __init__(self, running, method, message):
        self.orders = []
        self._ended = threading.Event()

        def messages():
            while not self._ended.is_set():
                yield message()
                self._ended.wait(0.05)

        self.call = method(messages())
        running._exits.callback(self.end)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(grpc.RpcError):
            for order in self.call:
                self.orders.append(order)

    def end(self):
        self._ended.set()
        self.call.cancel()


class _Client:
    """Applies each table, and counts calls that the test sets in ``calls``."""

    def __init__(self, running, client_id, service):
        self.calls = {}
        self.waiting = 0
        self.acks = True
        self.table = None
        self._sequence = itertools.count(1)
        self._ids = client_id, service
        self._watch = running.open(running.balance.WatchRoutes)
        subscribe = balance_pb2.Subscribe(service=service, client_id=client_id)
        self._watch.send(balance_pb2.WatchRoutesRequest(subscribe=subscribe))
        threading.Thread(target=self._read, daemon=True).start()
        self.counts = _Repeating(running, running.balance.ReportCalls, self._report)

    def _read(self):
        with contextlib.suppress(grpc.RpcError):
            for answer in self._watch:
                if answer.HasField("table") and self.acks:
                    self.table = answer.table
                    ack = balance_pb2.TableAck(
                        epoch=answer.table.epoch, version=answer.table.version
                    )
                    self._watch.send(balance_pb2.WatchRoutesRequest(ack=ack))

    def _report(self):
        table = self.table
        client_id, service = self._ids
        report = CallReport(
            service,
            client_id,
            next(self._sequence),
            tuple(NodeCalls(node_id, count, count) for node_id, count in self.calls.items()),
            waiting=self.waiting,
            applied=None if table is None else (table.epoch, table.version),
        )
        return balance_pb2.ReportCallsRequest(report=wire.call_report_to_pb(report))

    def states(self):
        return {} if self.table is None else {n.node_id: n.state for n in self.table.nodes}


@pytest.fixture
def running():
    """Return a function that starts a controller; all are stopped at the end."""
    made = []

    def start(*args, **named):
        made.append(Running(*args, **named))
        return made[-1]

    yield start
    for one in made:
        if one._thread.is_alive():
            one.stop()
