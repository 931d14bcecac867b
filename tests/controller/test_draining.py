"""Nodes withdrawn by order: every client, every call and every restart counted in."""

import uuid

import grpc
import pytest

from meshlb import settings, table_wire
from meshlb.errors import REASON_KEY
from meshlb.model import NodeState
from meshlb.v1 import balance_pb2
from tests.controller.conftest import load
from tests.waiting import until

QUICK = settings.parse({"controller": {"grace_s": 0.1, "tick_s": 0.02}})
DRAINING, ACTIVE = table_wire.STATES[NodeState.DRAINING], table_wire.STATES[NodeState.ACTIVE]


def drain(running, node_id="a", **fields):
    request = balance_pb2.DrainNodeRequest(
        service="s", node_id=node_id, **({"request_id": str(uuid.uuid4())} | fields)
    )
    return running.balance.DrainNode(request, timeout=60)


def undrain(running, node_id="a"):
    request = balance_pb2.UndrainNodeRequest(
        service="s", node_id=node_id, request_id=str(uuid.uuid4())
    )
    return running.balance.UndrainNode(request, timeout=60)


def states(running):
    nodes = running.balance.ListNodes(balance_pb2.ListNodesRequest(), timeout=60).nodes
    return {n.node.node_id: n.state for n in nodes}


def told(stream, wanted):
    return next(one for one in stream if wanted(one))


def code_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    reason = dict(caught.value.trailing_metadata()).get(REASON_KEY)
    return caught.value.code(), reason, caught.value.details()


def test_a_drain_waits_for_calls_in_flight_and_then_ends(running):
    controller = running(QUICK)
    sidecar = controller.node("a", in_flight=0)
    client = controller.client("c")
    client.calls["a"] = 1
    until(lambda: client.states() == {"a": ACTIVE})

    stream = drain(controller, reason="new kernel")

    waiting = told(stream, lambda p: p.acknowledged_count == 1)
    assert not waiting.drained
    assert waiting.waiting_for == "1 call in flight"
    assert waiting.in_flight_count == pytest.approx(1)
    assert client.states() == {"a": DRAINING}
    until(lambda: sidecar.orders[-1].draining)
    client.calls["a"] = 0
    assert told(stream, lambda p: p.drained).waiting_for == ""
    assert list(stream) == []


def test_a_client_that_has_not_applied_the_table_is_waited_for(running):
    controller = running(QUICK)
    controller.node("a", in_flight=0)
    client = controller.client("c")
    until(lambda: client.states() == {"a": ACTIVE})
    client.acks = False

    stream = drain(controller)

    waiting = told(stream, lambda p: "client" in p.waiting_for)
    assert (waiting.acknowledged_count, waiting.client_count) == (0, 1)
    assert waiting.waiting_for == "1 client of 1 to apply a table without it"
    client.counts.end()  # its lease runs out
    assert told(stream, lambda p: p.drained)


def test_a_plain_server_is_drained_when_nobody_is_connected(running):
    controller = running(QUICK)
    sidecar = controller.open(controller.balance.ReportLoad)
    sidecar.send(load("a", connections=2))
    stream = drain_after(controller, sidecar)

    assert told(stream, lambda p: p.waiting_for == "2 connections of clients to close")
    sidecar.send(load("a", connections=0))
    assert told(stream, lambda p: p.drained)


def drain_after(controller, sidecar):
    next(sidecar)
    return drain(controller)


def test_a_withdrawn_node_is_given_calls_again(running):
    controller = running(QUICK)
    controller.node("a")
    client = controller.client("c")
    client.calls["a"] = 1
    until(lambda: client.states() == {"a": ACTIVE})
    stream = drain(controller)
    until(lambda: client.states() == {"a": DRAINING})

    undrain(controller)

    until(lambda: client.states() == {"a": ACTIVE})
    code, reason, _ = code_of(lambda: list(stream))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "UNDRAINED")


def stopped_with_a_withdrawn_node(controller, **figures):
    """Withdraw node a by an order that nobody follows to its end; return the order's name."""
    controller.node("a", **figures)
    until(lambda: states(controller) == {"a": ACTIVE})
    request_id = str(uuid.uuid4())
    stream = drain(controller, request_id=request_id)
    next(stream)
    stream.cancel()
    until(lambda: states(controller) == {"a": DRAINING})
    controller.stop()
    return request_id


def test_a_drain_outlives_its_stream_and_the_controller(running, tmp_path):
    state = tmp_path / "state.db"
    request_id = stopped_with_a_withdrawn_node(running(QUICK, state))

    controller = running(QUICK, state)
    controller.node("a")

    until(lambda: states(controller) == {"a": DRAINING})
    undrain(controller)
    until(lambda: states(controller) == {"a": ACTIVE})
    repeated = drain(controller, request_id=request_id)  # done once already: it changes nothing
    assert code_of(lambda: list(repeated))[1] == "UNDRAINED"
    assert states(controller) == {"a": ACTIVE}


def test_a_restarted_controller_waits_until_it_has_heard_of_node_and_clients(running, tmp_path):
    state = tmp_path / "state.db"
    request_id = stopped_with_a_withdrawn_node(running(QUICK, state), in_flight=0)
    listens = settings.parse({"controller": {"grace_s": 600, "tick_s": 0.02}})
    controller = running(listens, state)

    stream = drain(controller, request_id=request_id)

    assert next(stream).waiting_for == "its sidecar to report"
    controller.node("a", in_flight=0)
    just_started = "clients to tell of their calls: the controller has just started"
    assert not told(stream, lambda p: p.waiting_for == just_started).drained
    client = controller.client("c")
    client.calls["a"] = 1
    told(stream, lambda p: p.client_count == 1 and p.in_flight_count == pytest.approx(1))
    stream.cancel()


def test_a_node_that_nobody_knows_is_told_with_those_that_are_known(running):
    controller = running(QUICK)
    controller.node("a")
    until(lambda: states(controller) == {"a": ACTIVE})

    code, reason, text = code_of(lambda: list(drain(controller, "b")))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_NODE")
    assert "node_id = 'b': one of ['a']" in text
    assert code_of(lambda: undrain(controller, "b"))[:2] == (code, reason)


def test_a_node_that_its_own_sidecar_has_withdrawn_is_not_given_back(running):
    controller = running(QUICK)
    sidecar = controller.open(controller.balance.ReportLoad)
    sidecar.send(load("a"))
    next(sidecar)
    client = controller.client("c")
    client.calls["a"] = 1
    goodbye = load("a")
    goodbye.goodbye.drain = True
    sidecar.send(goodbye)
    until(lambda: states(controller) == {"a": DRAINING})

    code, reason, _ = code_of(lambda: undrain(controller))

    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WITHDRAWN_BY_SIDECAR")
