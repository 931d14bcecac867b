"""A response stream that does not begin is asked of another node too. For threads."""

import grpc
import pytest

from tests.client.channel_options import config
from tests.client.fakes import CLOSED, aborting
from tests.client.hanging import MARKED, FirstHangs

HEDGED = config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "0.01s"})
HOW = {"timeout": 60, "metadata": MARKED}


@pytest.fixture
def hanging(pair):
    made = []

    def first_hangs():
        made.append(FirstHangs(pair))
        return made[0]

    yield first_hangs
    for one in made:
        one.released.set()


def count(channel, request=b"3", **how):
    return channel.unary_stream("/t.T/Count")(request, **HOW | how)


def test_the_first_that_has_a_message_is_read(open_in_turn, hanging):
    channel = open_in_turn(HEDGED)
    first = hanging()
    call = count(channel)
    assert list(call) == [b"0", b"1", b"2"]
    assert call.code() is grpc.StatusCode.OK
    assert sorted(first.nodes) == ["a", "b"]
    assert dict(call.trailing_metadata())["node"] == first.nodes[1]


def test_a_stream_without_messages_is_an_answer_too(open_in_turn, hanging):
    channel = open_in_turn(HEDGED)
    first = hanging()
    call = count(channel, b"0")
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK
    assert sorted(first.nodes) == ["a", "b"]


def test_nothing_is_asked_twice_before_somebody_reads(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.hold()
    call = count(channel)
    assert call._course._due is None
    pair.let_go()
    assert list(call) == [b"0", b"1", b"2"]


def test_nor_after_the_first_message(open_in_turn):
    channel = open_in_turn(config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "600s"}))
    call = count(channel)
    assert next(call) == b"0"
    assert call._course._due.what is None
    call._course._hedge(call._course.inner)
    assert list(call) == [b"1", b"2"]


def test_one_that_is_begun_while_the_first_message_comes_is_called_off(open_in_turn):
    channel = open_in_turn(config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "600s"}))
    call = count(channel)
    course, ask = call._course, call._course._ask

    def ask_late(*given):
        assert next(call) == b"0"
        return ask(*given)

    course._ask = ask_late
    course._hedge(course.inner)
    assert course._other is None
    assert list(call) == [b"1", b"2"]


def test_a_second_attempt_that_fails_leaves_the_call_to_the_first(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    seen = []

    def hook(name):
        def at(_, context):
            seen.append(name)
            if len(seen) > 1:
                context.abort(*CLOSED)
            pair.until(lambda: "over" in seen)

        return at

    pair.a.hook, pair.b.hook = hook("a"), hook("b")
    call = count(channel)
    # The reader waits in this thread, so what is waited for is seen by another's eye.
    course = call._course
    failed = course._goes_on_without

    def note(*given):
        found = failed(*given)
        seen.append("over")
        return found

    course._goes_on_without = note
    assert list(call) == [b"0", b"1", b"2"]
    assert seen[-1] == "over"


def test_a_first_attempt_that_fails_leaves_the_call_to_the_second(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    seen = []

    def hook(_, context):
        seen.append(1)
        if len(seen) == 1:
            pair.until(lambda: len(seen) == 2)
            context.abort(*CLOSED)

    pair.a.hook = pair.b.hook = hook
    assert list(count(channel)) == [b"0", b"1", b"2"]


def test_a_status_that_is_the_callers_own_ends_the_call(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    pair.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
    for _ in range(4):  # of which the hanging node is the first of two at the least
        with pytest.raises(grpc.RpcError) as caught:
            list(count(channel))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert pair.a.calls


def test_one_that_is_cancelled_or_dropped_ends_both_attempts(pair, open_in_turn, busy):
    channel = open_in_turn(HEDGED)
    pair.hold()
    calls = [count(channel), count(channel)]
    for call in calls:
        call._course._hedge_later()
    pair.until(lambda: len(pair.calls) == 4)
    calls[0].cancel()
    with pytest.raises(grpc.RpcError):
        next(calls[0])
    del calls, call
    pair.until(lambda: busy(channel._group.routes) == 0)


def test_a_stream_that_waits_for_a_node_is_hedged_too(pair, hanging):
    channel = pair.channel(options=HEDGED)
    routes = channel._group.routes
    first = hanging()
    call = count(channel)
    assert call._course.inner is None
    begin = call._course._begin

    def both_are_there(node):
        pair.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
        begin(node)

    call._course._begin = both_are_there
    assert list(call) == [b"0", b"1", b"2"]
    assert sorted(first.nodes) == ["a", "b"]


def test_streams_of_requests_are_not_hedged(open_in_turn):
    channel = open_in_turn(HEDGED)
    assert channel.stream_stream("/t.T/Chat")._method.hedge is None
    assert channel.stream_unary("/t.T/Join")._method.hedge is None
