"""``meshlb drain`` and ``undrain`` against a scripted service over real loopback."""

import json

import grpc
import pytest

from meshlb.v1 import balance_pb2


@pytest.fixture
def fake(fake, node):
    fake.answers["ListNodes"] = balance_pb2.ListNodesResponse(
        nodes=[node("llama", "n1"), node("llama", "n2"), node("embed", "n2")]
    )
    fake.answers["UndrainNode"] = balance_pb2.UndrainNodeResponse()
    return fake


def step(**figures):
    return balance_pb2.DrainNodeResponse(client_count=2, **figures)


DONE = step(acknowledged_count=2, in_flight_count=0, drained=True)
LAST = step(
    acknowledged_count=2, connection_count=1, waiting_for="1 connection of clients to close"
)
HALF = step(acknowledged_count=1, in_flight_count=3, waiting_for="client c2 to let go")


def test_drain_finds_the_service_prints_progress_and_ends_when_drained(fake, meshlb):
    fake.answers["DrainNode"] = [HALF, HALF, LAST, DONE]

    code, out, _ = meshlb("drain", "n1", "--reason", "new kernel")

    (asked,) = fake.asked["DrainNode"]
    assert code == 0
    assert (asked.service, asked.node_id, asked.reason) == ("llama", "n1", "new kernel")
    assert asked.request_id
    assert out.splitlines() == [
        "n1: 3 in flight, waits for client c2 to let go",
        "n1: waits for 1 connection of clients to close",
        "n1: drained; it can be stopped without breaking a call",
    ]


def test_drain_in_json_prints_one_object_a_line(fake, meshlb):
    fake.answers["DrainNode"] = [HALF, DONE]

    _, out, _ = meshlb("drain", "n1", "--json")

    assert [json.loads(line)["drained"] for line in out.splitlines()] == [False, True]


@pytest.mark.parametrize("command", ["drain", "undrain"])
@pytest.mark.parametrize(
    ("name", "told"),
    [("n2", "services embed, llama have such a node; add --service"), ("x", "one of n1, n2")],
)
def test_a_node_that_is_not_there_or_not_alone_ends_with_2(meshlb, command, name, told):
    code, _, err = meshlb(command, name)

    assert code == 2
    assert f"NODE = '{name}': " in err
    assert told in err


def test_drain_goes_on_listening_with_the_same_order_when_the_controller_comes_again(fake, meshlb):
    streams = [[HALF, (grpc.StatusCode.UNAVAILABLE, "going away")], [HALF, DONE]]
    fake.answers["DrainNode"] = lambda _: streams.pop(0)

    code, out, err = meshlb("drain", "n2", "--service", "embed")

    first, second = fake.asked["DrainNode"]
    assert code == 0
    assert first == second
    assert "ListNodes" not in fake.asked
    assert len(out.splitlines()) == 2
    assert "controller gone (going away)" in err


def test_drain_that_was_never_ordered_ends_at_once(fake, meshlb):
    fake.answers["DrainNode"] = (grpc.StatusCode.UNAVAILABLE, "not now")

    code, _, err = meshlb("drain", "n1")

    assert code == 1
    assert "is it running there?" in err


def test_drain_of_a_node_that_got_new_calls_again_ends_with_3(fake, meshlb):
    fake.answers["DrainNode"] = [HALF]

    code, _, err = meshlb("drain", "n1")

    assert code == 3
    assert "given new calls again" in err


def test_drain_without_waiting_returns_once_ordered(fake, meshlb):
    fake.answers["DrainNode"] = [HALF, DONE]

    code, out, _ = meshlb("drain", "n1", "--no-wait")

    assert (code, len(out.splitlines())) == (0, 1)


def test_drain_with_a_limit_ends_with_1_and_says_that_it_goes_on(fake, meshlb):
    fake.answers["DrainNode"] = [HALF, (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")]

    code, _, err = meshlb("drain", "n1", "--limit", "10m")

    assert code == 1
    assert "--limit: n1 not drained in 10 min; it goes on" in err


def test_undrain(fake, meshlb):
    code, out, _ = meshlb("undrain", "n1")

    (asked,) = fake.asked["UndrainNode"]
    assert (code, out) == (0, "n1: gets new calls again\n")
    assert (asked.service, asked.node_id) == ("llama", "n1")
