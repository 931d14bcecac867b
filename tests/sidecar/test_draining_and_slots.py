"""What a sidecar does when it is told that its node drains, or what slots it is to have."""

import asyncio
import contextlib
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import grpc.aio
import psutil
import pytest

from meshlb import orca
from meshlb.errors import InvalidInputError
from meshlb.v1 import balance_pb2, slots_pb2, slots_pb2_grpc
from sidecar.probes import Node, connections


def order(**fields):
    made = balance_pb2.ReportLoadResponse(**fields)
    made.report_interval.FromMilliseconds(20)
    return made


@pytest.fixture
def ordering(loopback, monkeypatch):
    """Make the controllers of ``loopback`` send what the test puts into ``orders``."""

    async def report_load(self, requests, context):
        self.orders = asyncio.Queue()
        self.orders.put_nowait(order())

        async def take():
            async for request in requests:
                self.reports.append(request.report)

        taking = asyncio.create_task(take())
        taking.add_done_callback(lambda _: self.orders.put_nowait(None))  # it has said goodbye
        try:
            while (one := await self.orders.get()) is not None:
                yield one
        finally:
            taking.cancel()

    from tests.sidecar import conftest

    monkeypatch.setattr(conftest.Controller, "ReportLoad", report_load)
    return loopback


def test_connections_are_told_while_the_node_drains_and_the_own_are_not_counted(
    ordering, monkeypatch
):
    monkeypatch.setattr(connections, "PERIOD_S", 0.02)

    async def run():
        async with (
            ordering.model_server() as server,
            ordering.controller() as controller,
            ordering.agent(controller, node=server.address),
        ):
            await controller.until(lambda r: not r.HasField("connection_count"))
            controller.orders.put_nowait(order(draining=True))
            await controller.until(lambda r: r.connection_count == 0 and has_count(r))
            host, port = server.address.split(":")
            with socket.create_connection((host, int(port))):
                # The test is of the sidecar's process, so its connections are told by their pid.
                monkeypatch.setattr(os, "getpid", lambda: -1)
                await controller.until(lambda r: r.connection_count > 0)
            controller.orders.put_nowait(order(draining=False))
            await controller.until(lambda r: not has_count(r))

    asyncio.run(run())


def has_count(report):
    return report.HasField("connection_count")


def test_another_machine_may_call_from_a_port_that_the_sidecar_has_here(monkeypatch):
    def one(here, there, status=psutil.CONN_ESTABLISHED, pid=1):
        return SimpleNamespace(laddr=here, raddr=there, status=status, pid=pid)

    def end(host, port):
        return SimpleNamespace(ip=host, port=port)

    sockets = [
        one(end("::", 80), (), psutil.CONN_LISTEN),
        one(end("127.0.0.1", 4000), end("127.0.0.1", 80), pid=os.getpid()),
        one(end("::ffff:127.0.0.1", 80), end("::ffff:127.0.0.1", 4000)),
        one(end("::ffff:192.0.2.1", 80), end("::ffff:192.0.2.7", 4000)),
    ]
    monkeypatch.setattr(psutil, "net_connections", lambda kind: sockets)
    assert connections.connections(80) == 1


def test_connections_to_a_port_that_nobody_here_listens_at_are_unknown():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        probe = connections.Probe(Node(f"127.0.0.1:{held.getsockname()[1]}", draining=True))
        assert asyncio.run(probe.read()) == {}


def test_slots_ordered_reach_the_server_and_the_reports_and_are_given_back(ordering):
    recorder = orca.LoadRecorder(slots=8)

    async def run():
        async with (
            ordering.model_server(lambda s: orca.add_service(s, recorder)) as server,
            ordering.controller() as controller,
            ordering.agent(controller, node=server.address, slots=8),
        ):
            await controller.until(lambda r: r.node.slot_count == 8)
            controller.orders.put_nowait(order(slot_count=3))
            await controller.until(lambda r: r.node.slot_count == 3)
            assert recorder.slots == 3
            controller.orders.put_nowait(order())
            await controller.until(lambda r: r.node.slot_count == 8)
            assert recorder.slots == 8

    asyncio.run(run())


@pytest.mark.parametrize("set_up", [lambda _: None, lambda s: orca.add_service(s, UNLIMITED)])
def test_a_server_that_cannot_be_told_keeps_its_slots(ordering, set_up):
    async def run():
        async with (
            ordering.model_server(set_up) as server,
            ordering.controller() as controller,
            ordering.agent(controller, node=server.address, slots=8),
        ):
            await controller.until(lambda r: r.node.slot_count == 8)
            controller.orders.put_nowait(order(slot_count=3, draining=True))
            await controller.until(has_count)  # so the order was followed
            assert controller.reports[-1].node.slot_count == 8

    asyncio.run(run())


UNLIMITED = orca.LoadRecorder()


def test_more_slots_let_waiting_calls_begin_and_fewer_let_running_ones_end():
    recorder = orca.LoadRecorder(slots=1)
    begun = []

    def begin(name):
        ticket = recorder.begin(0.0, lambda: begun.append(name))
        if ticket.admitted:
            begun.append(name)
        return ticket

    tickets = {name: begin(name) for name in "abcd"}
    assert begun == ["a"]
    assert recorder.set_slots(3) == 1
    assert begun == ["a", "b", "c"]
    assert recorder.set_slots(2) == 3
    tickets["a"].end(True, 1.0)
    assert begun == ["a", "b", "c"]  # three ran, two may
    tickets["b"].end(True, 1.0)
    assert begun == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("recorder", "slots", "code"),
    [
        (orca.LoadRecorder(slots=2), 0, grpc.StatusCode.INVALID_ARGUMENT),
        (orca.LoadRecorder(slots=2), 10**9, grpc.StatusCode.INVALID_ARGUMENT),
        (orca.LoadRecorder(), 2, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_slots_that_cannot_be_are_refused(loopback, recorder, slots, code):
    async def run():
        async with (
            loopback.model_server(lambda s: orca.add_service(s, recorder)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = slots_pb2_grpc.SlotServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SetSlots(slots_pb2.SetSlotsRequest(slot_count=slots), timeout=60)
            return caught.value

    error = asyncio.run(run())
    assert error.code() is code
    assert re.match(rf"[A-Z_]+: slots = {slots}: ", error.details())
    with contextlib.suppress(InvalidInputError):
        recorder.set_slots(slots)
    assert recorder.slots in (2, None)


async def told(recorder, kind, slots):
    """Tell a server of its own to have so many slots; return the answer, or the error."""
    if kind == "threads":
        counting = [orca.server_interceptor(recorder)]
        server = grpc.server(ThreadPoolExecutor(1), interceptors=counting)
    else:
        server = grpc.aio.server(interceptors=[orca.aio_server_interceptor(recorder)])
    orca.add_service(server, recorder)
    port = server.add_insecure_port("127.0.0.1:0")
    started = server.start()
    if started is not None:
        await started
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = slots_pb2_grpc.SlotServiceStub(channel)
            return await stub.SetSlots(slots_pb2.SetSlotsRequest(slot_count=slots), timeout=60)
    except grpc.aio.AioRpcError as error:
        return error
    finally:
        stopped = server.stop(None)
        if started is not None:
            await stopped


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_another_machine_sets_no_slots(monkeypatch, kind):
    monkeypatch.setattr(orca.service, "_of_this_machine", lambda _: False)
    recorder = orca.LoadRecorder(slots=2)
    error = asyncio.run(told(recorder, kind, 7))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error.details().startswith("NOT_LOCAL: ")
    assert recorder.slots == 2


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_server_that_is_counted_and_enforces_no_slots_says_so(kind):
    error = asyncio.run(told(orca.LoadRecorder(), kind, 7))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details().startswith("NOT_ENFORCED: slots = 7: ")


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_full_server_takes_more_slots_at_once(kind):
    recorder = orca.LoadRecorder(slots=1)
    running = recorder.begin(0.0, lambda: None)
    assert running.admitted
    assert asyncio.run(told(recorder, kind, 3)).previous_slot_count == 1
    assert recorder.slots == 3


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("unix:", True),
        ("ipv4:192.0.2.7:5000", False),
        ("ipv6:%5B2001:db8::7%5D:5000", False),
        ("", False),
    ],
)
def test_only_this_machine_sets_slots(peer, here):
    from meshlb.orca.service import _of_this_machine

    assert _of_this_machine(peer) is here
