"""A node that hangs, or fails, under two clients: what they tell, and what the controller says."""

import contextlib
import itertools

import grpc
import pytest

from meshlb.testing import Mesh, NodeSpec
from meshlb.v1 import balance_pb2, balance_pb2_grpc, routing_pb2
from tests.waiting import until


@pytest.fixture
def mesh():
    with Mesh([NodeSpec(service_time_s=0.002)] * 4) as made:
        yield made
        made.nodes[0].faults.frozen = False


def callers(mesh):
    """Return how to make a call from each of two clients, which share nothing."""
    channels = [
        mesh.channel([("meshlb.picker", "round_robin"), ("grpc.max_metadata_size", 9000 + n)])
        for n in range(2)
    ]
    calls = [channel.unary_unary("/t.T/Echo") for channel in channels]
    routes = [channel._group.routes for channel in channels]
    until(lambda: [call(b"", timeout=60) for call in calls] and all(map(connected, routes)))
    return calls


def connected(routes):
    return {n.link_state.value for n in routes.nodes.values()} == {"ready"}


def status_of(mesh, node):
    with grpc.insecure_channel(mesh.controller) as channel:
        stub = balance_pb2_grpc.BalanceServiceStub(channel)
        listed = stub.ListNodes(balance_pb2.ListNodesRequest(), timeout=60).nodes
    found = next(one for one in listed if one.node.node_id == node.node_id)
    return found.state, found.reason


def call_each(calls, count):
    """Call from each client in turn; a call that is caught at a frozen node ends after a second."""
    for call in itertools.islice(itertools.cycle(calls), count):
        with contextlib.suppress(grpc.RpcError):
            call(b"", timeout=1)


def test_a_node_that_hangs_is_ejected_while_clients_suspect_it_and_comes_back(mesh):
    calls = callers(mesh)
    call_each(calls, 400)
    mesh.nodes[0].faults.frozen = True

    def ejected():
        call_each(calls, 20)
        state, reason = status_of(mesh, mesh.nodes[0])
        return state == routing_pb2.NODE_STATE_EJECTED and "2 clients leave it alone" in reason

    until(ejected, "both clients leave it alone")
    mesh.nodes[0].faults.frozen = False
    until(
        lambda: status_of(mesh, mesh.nodes[0])[0] == routing_pb2.NODE_STATE_ACTIVE,
        "it answers their probes",
    )
    served = len(mesh.nodes[0].calls)

    def called():
        call_each(calls, 20)
        return len(mesh.nodes[0].calls) > served

    until(called, "it gets calls again")


def test_a_node_that_fails_at_once_gets_few_calls_and_is_ejected_for_a_time(mesh):
    calls = callers(mesh)
    mesh.nodes[0].faults.code = grpc.StatusCode.INTERNAL

    def ejected():
        call_each(calls, 20)
        state, reason = status_of(mesh, mesh.nodes[0])
        return state == routing_pb2.NODE_STATE_EJECTED and "failed in a row" in reason

    until(ejected, "its failures are told")
