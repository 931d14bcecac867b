"""Any messages to every method of a real controller: a status for each, and it goes on."""

import random

import grpc
import pytest
from google.protobuf import message_factory
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from meshlb.controller.app import NAMES
from meshlb.settings import parse
from meshlb.v1 import balance_pb2, scale_pb2
from tests.controller.conftest import Running
from tests.fuzz.effort import effort
from tests.fuzz.fleet_world import CLIENTS, SERVICES, Client
from tests.fuzz.messages import Bytes, made, rpcs

LIMIT_S = 60.0
STREAM_LIMIT_S = 0.03
"""Some answers never end; what was not looked at by then has been taken in all the same."""
CODE = grpc.StatusCode
UNHANDLED = (CODE.UNKNOWN, CODE.INTERNAL, CODE.UNIMPLEMENTED)
CONFIG = {
    "controller": {"grace_s": 0, "tick_s": 0.01},
    "service": {"s": {"scale": {"mode": "observe"}, "actuator": {"kind": "none"}}},
}


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    running = Running(parse(CONFIG), tmp_path_factory.mktemp("state") / "state.db")
    yield running
    running.stop()


def call(channel, path, method, requests):
    """Make one call; return its status."""
    kind = ("stream" if method.client_streaming else "unary",
            "stream" if method.server_streaming else "unary")  # fmt: skip
    stub = getattr(channel, "_".join(kind))(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    given_ = iter(requests) if method.client_streaming else requests[0]
    try:
        if method.server_streaming:
            for _ in stub(given_, timeout=STREAM_LIMIT_S, wait_for_ready=True):
                pass
        else:
            stub(given_, timeout=LIMIT_S, wait_for_ready=True)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return CODE.OK, ""


def look(running):
    """Ask for all that can be asked, and take the tables as clients do."""
    running.balance.ListServices(balance_pb2.ListServicesRequest(), timeout=LIMIT_S)
    running.balance.ListNodes(balance_pb2.ListNodesRequest(), timeout=LIMIT_S)
    running.scale.ListScales(scale_pb2.ListScalesRequest(), timeout=LIMIT_S)
    request = scale_pb2.ListScaleDecisionsRequest(service="s", limit=3)
    running.scale.ListScaleDecisions(request, timeout=LIMIT_S)
    for service in SERVICES:
        client = Client(service)
        subscribe = balance_pb2.Subscribe(service=service, client_id=CLIENTS[0])
        watch = running.balance.WatchRoutes(
            iter([balance_pb2.WatchRoutesRequest(subscribe=subscribe)]), timeout=LIMIT_S
        )
        for message in watch:
            problem = client.take(message)
            assert not problem, problem
            client.call(1.0)


@pytest.mark.parametrize("path", [path for path in rpcs() if path.split("/")[1] in NAMES])
@given(choices=st.binary(min_size=100, max_size=400))
@effort(12)
@example(random.Random(2).randbytes(900))
@example(random.Random(3).randbytes(900))
def test_every_method_answers_anything_with_a_status(controller, path, choices):
    method, source = rpcs()[path], Bytes(choices)
    count = 1 + source.below(3) if method.client_streaming else 1
    requests = [made(method.input_type, source) for _ in range(count)]
    with capture_logs() as logs:
        code, details = call(controller.channel, path, method, requests)
        look(controller)
    assert code not in UNHANDLED, details
    assert [one for one in logs if one["log_level"] in ("error", "critical")] == []
