"""What fuzzing has found, each as small as it can be."""

import grpc
import pytest

from meshlb import wire
from meshlb.controller import status
from meshlb.errors import InvalidInputError
from meshlb.model import CallReport, LoadReport, NodeCalls, NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.settings import Settings, parse
from meshlb.v1 import balance_pb2, load_pb2, routing_pb2
from tests.controller.conftest import Running, load
from tests.fuzz.fleet_world import Client
from tests.waiting import until

GOOD = LoadReport(NodeInfo("s", "a", 1, "h:1"))


@pytest.fixture
def controller():
    running = Running(Settings())
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("field", "seconds"),
    [("observe_time", 253_402_300_800), ("observe_time", -1), ("time_to_first_token", 2**63 - 1)],
)
def test_a_time_that_no_message_holds_is_refused_since_no_node_could_be_listed_with_it(
    field, seconds
):
    message = wire.load_report_to_pb(GOOD)
    getattr(message, field).seconds = seconds
    with pytest.raises(InvalidInputError, match=f"report.{field} = "):
        wire.load_report_from_pb(message)


def test_counts_that_do_not_add_up_in_64_bits_are_refused():
    for name in ("in_flight_count", "succeeded_count", "token_out_count"):
        message = wire.load_report_to_pb(GOOD)
        setattr(message, name, 2**63 - 1)
        with pytest.raises(InvalidInputError, match=f"report.{name} = "):
            wire.load_report_from_pb(message)
    message = wire.call_report_to_pb(CallReport("s", "c", 1, (NodeCalls("a", 1),)))
    message.waiting_count = 2**63 - 1
    message.nodes[0].started_count = 2**63 - 1
    message.nodes[0].in_flight_time.seconds = 2**62
    with pytest.raises(InvalidInputError) as caught:
        wire.call_report_from_pb(message)
    assert len(caught.value.faults) == 3


def test_what_many_clients_count_can_be_listed():
    fleet = Fleet(Settings(), "c", 1, 0.0)
    message = load_pb2.CallReport(service="s", waiting_count=2**40)
    message.nodes.add(node_id="a", in_flight_count=2**40)
    for number in range(100):
        message.client_id = f"client {number}"
        fleet.observe_calls(wire.call_report_from_pb(message), 1.0)
    fleet.decide(1.0)
    assert status.service_status(fleet.services["s"]).waiting_count == 100 * 2**40


def response(**fields):
    table = routing_pb2.RoutingTable(service="s", complete=True, **fields)
    table.nodes.add(node_id="a", address="h:1", weight=1.0, state=routing_pb2.NODE_STATE_ACTIVE)
    return balance_pb2.WatchRoutesResponse(table=table)


def test_a_picker_that_this_client_does_not_know_is_replaced_by_its_default():
    client = Client()
    assert client.take(response(epoch=1, version=1, picker="of a newer controller")) == ""
    assert client.call(1.0)


def test_a_whole_number_as_a_default_does_not_keep_services_from_a_part_of_it():
    read = parse({"default": {"fresh_s": 3}, "service": {"s": {"fresh_s": 0.5}}})
    assert (read.of("s").fresh_s, read.of("t").fresh_s) == (0.5, 3)


def test_an_epoch_or_version_that_no_report_may_name_is_refused():
    client = Client()
    for fields in ({"epoch": -1, "version": 1}, {"epoch": 1, "version": -1}):
        assert "finite, 0 or more" in client.take(response(**fields))


def test_a_watch_that_its_client_ends_gets_its_table_and_a_status(controller):
    """A status that is sent while the table is would be lost, and the call would never end."""
    controller.node("a")
    watch = controller.balance.WatchRoutes
    subscribe = balance_pb2.WatchRoutesRequest(
        subscribe=balance_pb2.Subscribe(service="s", client_id="c")
    )

    def sent():
        return list(watch(iter([subscribe]), timeout=60))

    until(sent, "the first table is there")
    for _ in range(20):
        assert any(message.HasField("table") for message in sent())
        with pytest.raises(grpc.RpcError) as caught:
            list(watch(iter([subscribe, subscribe]), timeout=60))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_report_after_one_that_was_refused_is_taken(controller):
    wrong = load("a")
    wrong.report.observe_time.seconds = 2**60
    call = controller.balance.ReportLoad(iter([wrong]), timeout=60)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    controller.node("a")
    list_nodes = controller.balance.ListNodes
    until(lambda: list_nodes(balance_pb2.ListNodesRequest(), timeout=60).nodes)
