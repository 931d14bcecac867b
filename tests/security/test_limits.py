"""Limits: a flooding peer is slowed and harms no other; what is too much is refused by name."""

import threading

import grpc
import pytest

from meshlb.security import pace as pace_module
from meshlb.security.pace import Pace
from meshlb.v1 import balance_pb2, load_pb2
from tests.controller.conftest import load
from tests.waiting import until


def refused(stream, setting):
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"controller.{setting}" in caught.value.details()


def with_limits(secured, **limits):
    return secured({"controller": limits})


def subscribe(service, client_id="c"):
    message = balance_pb2.Subscribe(service=service, client_id=client_id)
    return balance_pb2.WatchRoutesRequest(subscribe=message)


def count(service, client_id="c"):
    report = load_pb2.CallReport(service=service, client_id=client_id, sequence=1)
    return balance_pb2.ReportCallsRequest(report=report)


def test_a_stream_at_its_pace_never_waits():
    pace = Pace(5, 0.0)
    assert not any(pace.wait_s(0.1, number * 0.1) for number in range(1000))
    assert not any(pace.wait_s(0.1, 100.0 + number * 0.05) for number in range(1000))


def test_a_flood_waits_until_it_is_at_twice_the_pace():
    pace, now = Pace(5, 0.0), 0.0
    waits = []
    for _ in range(105):
        waits.append(pace.wait_s(0.1, now))
        now += waits[-1]
    assert waits[:5] == [0.0] * 5
    assert sum(waits) == pytest.approx(100 * 0.05)
    assert pace.slowed == 100


def test_a_stream_may_cost_a_tenth_of_the_controllers_time():
    pace, now = Pace(1000, 0.0), 0.0
    for _ in range(1000):
        now += 0.1
        assert pace.wait_s(0.1, now, 0.009) == 0.0
    waited = []
    for _ in range(50):
        waited.append(pace.wait_s(0.1, now, 0.05))
        now += waited[-1]
    assert waited[:4] == [0.0] * 4
    assert waited[-10:] == pytest.approx([0.5] * 10)
    assert pace.wait_s(0.1, now, 100.0) == 5.0


def test_a_peer_of_great_messages_is_slowed(secured, monkeypatch):
    monkeypatch.setattr(pace_module, "WORK_BURST_S", 0.001)
    controller = with_limits(secured)
    nodes = [load_pb2.NodeCalls(node_id=f"{number:0200}") for number in range(10_000)]
    report = load_pb2.CallReport(service="s", client_id="c", sequence=1, nodes=nodes)
    stream = controller.open(controller.balance.ReportCalls)
    stream.send(balance_pb2.ReportCallsRequest(report=report))
    ask = controller.balance.ListServices
    until(lambda: ask(balance_pb2.ListServicesRequest()).slowed_count == 1)


def test_services_are_limited(secured):
    controller = with_limits(secured, max_services=2)
    stub = controller.balance
    for service in ("a", "b"):
        next(stub.ReportLoad(iter([load("n", service)])))
    refused(stub.ReportLoad(iter([load("n", "c")])), "max_services")
    refused(stub.WatchRoutes(iter([subscribe("c")])), "max_services")
    refused(stub.ReportCalls(iter([count("c")])), "max_services")
    next(stub.ReportLoad(iter([load("m", "b")])))


def test_clients_alone_do_not_use_up_the_services(secured):
    controller = with_limits(secured, max_services=4)
    stub = controller.balance
    for service in ("a", "b"):
        next(stub.ReportCalls(iter([count(service)])))
    refused(stub.ReportCalls(iter([count("c")])), "max_services")
    refused(stub.WatchRoutes(iter([subscribe("c")])), "max_services")
    for service in ("c", "d"):
        next(stub.ReportLoad(iter([load("n", service)])))
    next(stub.ReportCalls(iter([count("c")])))


def test_nodes_are_limited(secured):
    controller = with_limits(secured, max_nodes=2)
    for node in ("a", "b", "b"):
        next(controller.balance.ReportLoad(iter([load(node)])))
    refused(controller.balance.ReportLoad(iter([load("c")])), "max_nodes")


def test_clients_are_limited_and_those_that_are_there_stay(secured):
    controller = with_limits(secured, max_clients=2)
    for client in ("a", "b", "b"):
        next(controller.balance.ReportCalls(iter([count("s", client)])))
    refused(controller.balance.ReportCalls(iter([count("s", "c")])), "max_clients")
    refused(controller.balance.WatchRoutes(iter([subscribe("s")])), "max_clients")
    next(controller.balance.ReportCalls(iter([count("t", "c")])))


def test_streams_of_a_peer_are_limited(secured):
    controller = with_limits(secured, max_streams_per_peer=2)
    held = [controller.open(controller.balance.ReportLoad) for _ in range(2)]
    for number, stream in enumerate(held):
        stream.send(load(f"n{number}"))
        next(stream)
    refused(controller.balance.ReportLoad(iter([load("x")])), "max_streams_per_peer")
    held[0].cancel()

    def let_in():
        try:
            return next(controller.balance.ReportLoad(iter([load("x")])))
        except grpc.RpcError:
            return None

    until(let_in, "a place is free again")


def test_messages_are_limited(secured):
    controller = with_limits(secured, max_message_bytes=65536)
    request = balance_pb2.DrainNodeRequest(service="s", node_id="n", reason="x" * 70000)
    with pytest.raises(grpc.RpcError) as caught:
        list(controller.balance.DrainNode(request))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "65536" in caught.value.details()


def test_one_stream_is_one_client(secured):
    controller = with_limits(secured)
    with pytest.raises(grpc.RpcError) as caught:
        list(controller.balance.ReportCalls(iter([count("s", "a"), count("s", "b")])))
    assert caught.value.details().startswith("CLIENT_CHANGED")


def test_a_flooding_peer_is_slowed_and_harms_no_other(secured):
    controller = with_limits(secured, report_burst=10)
    sent, stop, message = [0], threading.Event(), load("flood")

    def flood():
        while not stop.is_set():
            sent[0] += 1
            yield message

    calm = controller.node("calm")
    until(lambda: calm.orders)
    flooding = controller.balance.ReportLoad(flood())
    heard = set()

    def listened():
        """Return whether the flood was slowed, and the other heard time and again meanwhile."""
        listed = controller.balance.ListNodes(balance_pb2.ListNodesRequest()).nodes
        times = {n.node.node_id: n.report.observe_time.ToNanoseconds() for n in listed}
        slowed = controller.balance.ListServices(balance_pb2.ListServicesRequest()).slowed_count
        if slowed:
            heard.add(times["calm"])
        return slowed >= 5 and len(heard) > 10 and times.keys() == {"calm", "flood"}

    try:
        next(flooding)
        until(listened)
        assert sent[0] > 15  # the burst, and those after which it was not read
    finally:
        stop.set()
        flooding.cancel()


def test_what_a_client_says_of_a_table_is_logged_in_part(secured, logged):
    controller = with_limits(secured)
    stream = controller.open(controller.balance.WatchRoutes)
    stream.send(subscribe("s"))
    ack = balance_pb2.TableAck(epoch=1, version=1, error="x" * 1_000_000)
    stream.send(balance_pb2.WatchRoutesRequest(ack=ack))
    told = until(lambda: [one for one in logged if one["event"] == "table_refused"])
    assert len(told[0]["problem"]) == 1000
