"""A call that takes long is asked of another node too; the first answer counts. For threads."""

import threading

import grpc
import pytest

from meshlb.policy.standing import OUTRUN_IN_A_ROW
from tests.client.channel_options import ROUND_ROBIN, config
from tests.client.fakes import CLOSED, aborting
from tests.client.hanging import HeldBack

HEDGED = config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "0.01s"})
STYLES = {
    "call": lambda c: c.unary_unary("/t.T/Echo")(b"1", timeout=60),
    "with_call": lambda c: c.unary_unary("/t.T/Echo").with_call(b"1", timeout=60)[0],
    "future": lambda c: c.unary_unary("/t.T/Echo").future(b"1", timeout=60).result(),
}
every_style = pytest.mark.parametrize("call", STYLES.values(), ids=STYLES)


def stalled(channel):
    return [n.info.node_id for n in channel._group.routes.nodes.values() if n.suspected]


@every_style
def test_a_node_that_hangs_costs_no_call(pair, open_in_turn, call):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    for _ in range(4):
        assert call(channel) == b"1"
    pair.until(lambda: len(pair.a.calls) >= 2)
    assert len(pair.b.calls) == 4


def test_the_metadata_are_of_the_node_that_answered(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    for _ in range(4):
        _, call = channel.unary_unary("/t.T/Echo").with_call(b"1", timeout=60)
        assert dict(call.initial_metadata())["node"] == "b"
        assert dict(call.trailing_metadata())["node"] == "b"
        assert call.code() is grpc.StatusCode.OK


def test_a_node_that_answers_nothing_is_left_alone(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    pair.until(lambda: STYLES["call"](channel) and stalled(channel) == ["a"])
    assert len(pair.a.calls) >= OUTRUN_IN_A_ROW
    pair.let_go()
    pair.until(lambda: not stalled(channel), "it is tried again")
    pair.a.calls.clear()
    pair.until(lambda: STYLES["call"](channel) and pair.a.calls, "it has calls again")


def test_a_first_attempt_that_fails_leaves_the_call_to_the_second(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.hold()
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: len(pair.calls) == 2 and call._course._other)
    attempt = call._course._attempt[0].info.node_id
    slow, other = (pair.a, pair.b) if attempt == "a" else (pair.b, pair.a)
    slow.stop()  # its calls break
    other.gate.set()
    assert call.result() == b"1"
    assert len(pair.calls) == 2
    slow.start()


def test_a_second_attempt_that_fails_leaves_the_call_to_the_first(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    pair.b.hook = aborting(*CLOSED)
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: pair.b.calls)
    pair.until(lambda: pair.a.calls)
    pair.until(lambda: call._course._other is None and call._course._hedged)
    pair.a.gate.set()
    assert call.result() == b"1"


@pytest.mark.parametrize("pushback_ms", [None, "-1", "1000000"])
@pytest.mark.parametrize("which", ["first", "second"])
def test_one_that_fails_and_may_not_be_repeated_leaves_the_call_to_the_other(
    pair, open_in_turn, which, pushback_ms
):
    channel = open_in_turn(HEDGED)
    held = HeldBack(pair)
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    course = call._course
    pair.until(lambda: len(pair.calls) == 2 and course._other)
    channel._group.routes.budget.take = lambda started, now: False
    first, second = course._attempt[0].info.node_id, course._other[0].info.node_id
    failing, other = (first, second) if which == "first" else (second, first)
    held.fail(failing, pushback_ms)
    pair.until(lambda: course._other is None)
    held.let_go(other)
    assert call.result() == b"1"


def test_a_blocking_call_ends_with_grpcs_error_when_its_channel_is_closed(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.hold()
    found = []

    def call():
        try:
            channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    pair.until(lambda: pair.calls)
    channel.close()
    thread.join(60)
    assert isinstance(found[0], grpc.RpcError)
    assert found[0].code() is grpc.StatusCode.CANCELLED


def test_a_status_that_is_the_callers_own_ends_the_call_and_both_attempts(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.a.gate.clear()
    pair.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
    for _ in range(4):  # of which the hanging node is the first of two at the least
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no such thing"
    assert pair.a.calls


def test_a_call_that_its_caller_cancels_ends_both_attempts(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    pair.hold()
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: len(pair.calls) == 2)
    assert call.cancel()
    assert call.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()


def test_one_that_is_dropped_ends_both_attempts(pair, open_in_turn, busy):
    channel = open_in_turn(HEDGED)
    pair.hold()
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: len(pair.calls) == 2)
    del call
    pair.until(lambda: busy(channel._group.routes) == 0)


def test_with_one_node_nothing_is_asked_twice(world):
    node = world.add_node()
    world.controller.push(node)
    channel = world.channel(options=[*ROUND_ROBIN, *HEDGED])
    node.gate.clear()
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    world.until(lambda: getattr(call._course, "_hedged", False))
    node.gate.set()
    assert call.result() == b"1"
    assert len(node.calls) == 1


def test_hedges_come_out_of_the_retry_budget(pair, open_in_turn):
    channel = open_in_turn(HEDGED)
    channel._group.routes.budget.take = lambda started, now: False
    pair.a.gate.clear()
    call = channel.unary_unary("/t.T/Echo")
    running = [call.future(b"1", timeout=60) for _ in range(2)]
    pair.until(lambda: any(one.done() for one in running) and pair.a.calls)
    pair.until(lambda: any(one._course._hedged for one in running))
    assert len(pair.calls) == 2
    pair.let_go()
    assert [one.result() for one in running] == [b"1", b"1"]


def test_a_channel_that_is_being_closed_begins_no_second_attempt(pair, open_in_turn):
    channel = open_in_turn(config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "600s"}))
    pair.hold()
    call = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: len(pair.calls) == 1)
    channel._view.close()
    call._course._hedge(call._course.inner)
    pair.let_go()
    assert call.result() == b"1"
    assert len(pair.calls) == 1
