"""A real controller on loopback, spoken to by stock gRPC clients: the good and the bad."""

import asyncio
import contextlib
import math
import queue
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meshlb import table_wire, wire, wire_time
from meshlb.controller.app import Controller
from meshlb.errors import REASON_KEY, InvalidInputError, UnavailableError
from meshlb.model import CallReport, Health, LoadReport, NodeCalls, NodeInfo, NodeState
from meshlb.settings import ControllerSettings, ServiceSettings, Settings
from meshlb.v1 import balance_pb2, balance_pb2_grpc
from tests.waiting import until

# Quick to decide, and slow to call a node unknown: a test may stall between two reports.
QUICK = Settings(
    controller=ControllerSettings(grace_s=0.2, tick_s=0.02),
    default=ServiceSettings(fresh_s=600),
)


@pytest.fixture
def controller():
    """A controller in a loop of its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Controller(QUICK, "127.0.0.1:0")
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(60)
    yield made
    asyncio.run_coroutine_threadsafe(made.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def stub(controller):
    with grpc.insecure_channel(f"127.0.0.1:{controller.port}") as channel:
        yield balance_pb2_grpc.BalanceServiceStub(channel)


class Stream:
    """A stream's requests, sent one by one."""

    def __init__(self, call):
        self._asks = queue.SimpleQueue()
        self.answers = call(iter(self._asks.get, None))

    def send(self, request):
        self._asks.put(request)

    def close(self):
        self._asks.put(None)


@pytest.fixture
def opened():
    with contextlib.ExitStack() as stack:

        def open_(call):
            stream = Stream(call)
            stack.callback(stream.answers.cancel)
            stack.callback(stream.close)
            return stream

        yield open_


def report(node_id="a", incarnation=1, address=None, **figures):
    node = NodeInfo("s", node_id, incarnation, address or f"127.0.0.1:{8000 + ord(node_id[0])}")
    return wire.load_report_to_pb(LoadReport(node, observe_time_s=time.time(), **figures))


def load(*args, **named):
    return balance_pb2.ReportLoadRequest(report=report(*args, **named))


def node_states(stub):
    return {
        n.node.node_id: table_wire.STATES_BACK[n.state]
        for n in stub.ListNodes(balance_pb2.ListNodesRequest(), timeout=60).nodes
    }


def next_table(stream, wanted=lambda _: True):
    for answer in stream.answers:
        if answer.HasField("table") and wanted(answer.table):
            return answer.table
    raise AssertionError("the stream ended")


def subscribe(service="s", client_id="me"):
    return balance_pb2.WatchRoutesRequest(
        subscribe=balance_pb2.Subscribe(service=service, client_id=client_id)
    )


def test_a_report_becomes_a_table(stub, opened):
    sidecar = opened(stub.ReportLoad)
    sidecar.send(load("a"))
    assert wire_time.seconds(next(sidecar.answers).report_interval) == pytest.approx(0.1)

    watch = opened(stub.WatchRoutes)
    watch.send(subscribe())
    table = next_table(watch)

    assert [n.node_id for n in table.nodes] == ["a"]
    assert table.picker == "expected_delay"


def test_a_client_learns_its_share_and_the_counts_of_all(stub, opened):
    sidecar = opened(stub.ReportLoad)
    sidecar.send(load("a"))
    watch = opened(stub.WatchRoutes)
    watch.send(subscribe())
    next_table(watch)
    clients = {"me": (3, opened(stub.ReportCalls)), "other": (9, opened(stub.ReportCalls))}

    def report_calls(sequence):
        for client, (count, calls) in clients.items():
            counts = CallReport("s", client, sequence, (NodeCalls("a", count),))
            calls.send(balance_pb2.ReportCallsRequest(report=wire.call_report_to_pb(counts)))

    report_calls(1)
    for sequence, answer in enumerate(watch.answers, start=2):
        share = answer.share
        # It moves smoothly to a quarter, however far apart the two reports came.
        if share.nodes and share.nodes[0].in_flight_count == 12 and share.share < 0.5:
            break
        report_calls(sequence)  # counts hold for seconds only

    assert share.share > 0
    assert share.counted_sequence >= 1


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"host_cpu": math.nan}, "host_cpu_utilization = nan"),
        ({"in_flight": -3}, "in_flight_count = -3"),
        ({"application": math.inf}, "application_utilization = inf"),
    ],
)
def test_a_wrong_figure_ends_that_stream_alone_and_the_last_good_state_stays(
    stub, opened, bad, field
):
    good, wrong = opened(stub.ReportLoad), opened(stub.ReportLoad)
    good.send(load("a"))
    wrong.send(load("b"))
    next(good.answers)
    next(wrong.answers)
    until(lambda: len(node_states(stub)) == 2)
    wrong.send(load("b", **bad))

    with pytest.raises(grpc.RpcError) as caught:
        next(wrong.answers)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("INVALID_REPORT: ")
    assert field in caught.value.details()
    assert (REASON_KEY, "INVALID_REPORT") in caught.value.trailing_metadata()
    assert good.answers.is_active()
    assert node_states(stub) == {"a": NodeState.ACTIVE, "b": NodeState.ACTIVE}


def test_an_address_that_a_live_sidecar_holds_is_refused(stub, opened):
    holder, thief = opened(stub.ReportLoad), opened(stub.ReportLoad)
    holder.send(load("a", 5, "127.0.0.1:9"))
    next(holder.answers)
    thief.send(load("b", 4, "127.0.0.1:9"))

    with pytest.raises(grpc.RpcError) as caught:
        next(thief.answers)

    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.details().startswith("ADDRESS_IN_USE: ")
    assert "127.0.0.1:9" in caught.value.details()
    until(lambda: node_states(stub) == {"a": NodeState.ACTIVE})


def test_a_stream_speaks_for_one_node_only(stub, opened):
    sidecar = opened(stub.ReportLoad)
    sidecar.send(load("a"))
    next(sidecar.answers)
    sidecar.send(load("b"))

    with pytest.raises(grpc.RpcError) as caught:
        next(sidecar.answers)

    assert caught.value.details().startswith("NODE_CHANGED: ")


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (balance_pb2.WatchRoutesRequest(), "NOT_SUBSCRIBED"),
        (balance_pb2.WatchRoutesRequest(ack=balance_pb2.TableAck()), "NOT_SUBSCRIBED"),
        (subscribe(service=""), "INVALID_SUBSCRIPTION"),
        (subscribe(service="no blanks"), "INVALID_SUBSCRIPTION"),
        (subscribe(client_id="x" * 200), "INVALID_SUBSCRIPTION"),
    ],
)
def test_a_wrong_subscription_is_refused_with_a_reason(stub, opened, first, reason):
    watch = opened(stub.WatchRoutes)
    watch.send(first)

    with pytest.raises(grpc.RpcError) as caught:
        next(watch.answers)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(f"{reason}: ")


def test_goodbye_with_drain_withdraws_the_node(stub, opened):
    sidecar, stays = opened(stub.ReportLoad), opened(stub.ReportLoad)
    sidecar.send(load("a"))
    stays.send(load("b"))
    next(sidecar.answers)
    watch = opened(stub.WatchRoutes)
    watch.send(subscribe())
    goodbye = balance_pb2.ReportLoadRequest(
        report=report("a"), goodbye=balance_pb2.Goodbye(drain=True)
    )
    sidecar.send(goodbye)

    draining = table_wire.STATES[NodeState.DRAINING]
    table = next_table(watch, lambda t: any(n.state == draining for n in t.nodes))
    watch.send(
        balance_pb2.WatchRoutesRequest(
            ack=balance_pb2.TableAck(epoch=table.epoch, version=table.version)
        )
    )

    assert [n.node_id for n in next_table(watch, lambda t: len(t.nodes) == 1).nodes] == ["b"]


def test_an_unhealthy_node_is_shown_as_such(stub, opened):
    sidecar = opened(stub.ReportLoad)
    sidecar.send(load("a", health=Health.NOT_SERVING))
    next(sidecar.answers)

    until(lambda: node_states(stub) == {"a": NodeState.UNHEALTHY})


def test_an_unknown_service_is_named(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListNodes(balance_pb2.ListNodesRequest(service="nobody"), timeout=60)

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details().startswith("UNKNOWN_SERVICE: service = 'nobody'")


def test_health_and_reflection_are_served(controller):
    with grpc.insecure_channel(f"127.0.0.1:{controller.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="meshlb.v1.BalanceService")
        answer = health.Check(request, timeout=60)
        reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5
        )
        services = [s.name for s in next(reflected).list_services_response.service]

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "meshlb.v1.BalanceService" in services


def test_a_second_controller_on_the_port_is_told_so(controller):
    async def start():
        await Controller(QUICK, f"127.0.0.1:{controller.port}").start()

    with pytest.raises(UnavailableError, match=f"127.0.0.1:{controller.port}"):
        asyncio.run(start())


def test_a_listen_address_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match="HOST:PORT"):
        Controller(QUICK, "nowhere")
