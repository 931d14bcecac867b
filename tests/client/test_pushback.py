"""Servers that are full, and say when they will take calls again."""

import grpc
import pytest

from meshlb.client.retry import pushback_s
from tests.client.channel_options import IDEMPOTENT, config

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.001s",
    "maxBackoff": "0.001s",
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
}


def full(asked):
    """A hook of nodes that are full; ``asked``: when they take calls again, in milliseconds."""

    def hook(_, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", asked),))
        context.abort(FULL, "full")

    return hook


def echo(channel):
    return channel.unary_unary("/t.T/Echo")(b"1", timeout=60)


@pytest.mark.parametrize(
    ("trailing", "seconds"),
    [
        (None, None),
        ((("other", "5"),), None),
        ((("grpc-retry-pushback-ms", "1500"),), 1.5),
        ((("grpc-retry-pushback-ms", b"0"),), 0.0),
        ((("grpc-retry-pushback-ms", "-1"),), -1.0),
        ((("grpc-retry-pushback-ms", "soon"),), -1.0),
        ((("grpc-retry-pushback-ms", "²"),), -1.0),
        ((("grpc-retry-pushback-ms", "9" * 5000),), -1.0),
    ],
)
def test_what_a_server_asks_is_read(trailing, seconds):
    assert pushback_s(trailing) == seconds


def test_a_node_that_is_full_is_left_alone_for_as_long_as_it_asks(pair, open_in_turn):
    channel = open_in_turn(IDEMPOTENT)
    pair.a.hook = full("600000")
    stub = channel.unary_unary("/t.T/Echo")
    codes = [stub.future(b"1", timeout=60).code() for _ in range(6)]
    assert sorted(codes, key=str) == [grpc.StatusCode.OK] * 5 + [FULL]
    assert len(pair.a.calls) == 1


def test_where_all_are_full_they_are_called_all_the_same(pair, open_in_turn):
    channel = open_in_turn()
    pair.a.hook = pair.b.hook = full("600000")
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            echo(channel)
    pair.a.hook = pair.b.hook = lambda method, context: None
    assert echo(channel) == b"1"


@pytest.mark.parametrize(("asked", "attempts"), [("-1", 1), ("0", 3)])
def test_whoever_may_repeat_a_call_obeys(pair, open_in_turn, asked, attempts):
    channel = open_in_turn(config(retryPolicy={**RETRIES, "maxAttempts": 3}))
    pair.a.hook = pair.b.hook = full(asked)
    with pytest.raises(grpc.RpcError) as caught:
        echo(channel)
    assert caught.value.code() is FULL
    assert len(pair.calls) == attempts
