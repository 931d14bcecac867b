"""Calls of every style where calls in flight are limited. For threads."""

import threading

import grpc
import pytest

from meshlb.model import CallLimits, Priority
from tests.client.channel_options import IDEMPOTENT
from tests.client.fakes import CLOSED

CLASSES = (Priority("high", 0.0), Priority("default", 0.0), Priority("low", 0.0))
STYLES = {
    "call": lambda c, **how: c.unary_unary("/t.T/Echo")(b"1", **how),
    "with_call": lambda c, **how: c.unary_unary("/t.T/Echo").with_call(b"1", **how)[0],
    "future": lambda c, **how: c.unary_unary("/t.T/Echo").future(b"1", **how).result(),
    "stream": lambda c, **how: list(c.unary_stream("/t.T/Count")(b"2", **how))[1],
    "join": lambda c, **how: c.stream_unary("/t.T/Join")(iter([b"1"]), **how),
    "chat": lambda c, **how: b"".join(c.stream_stream("/t.T/Chat")(iter([b"1"]), **how)),
}
every_style = pytest.mark.parametrize("call", STYLES.values(), ids=STYLES)


def limit(pair, channel, in_flight=1, waiting=9, **of):
    limits = CallLimits(in_flight, None, waiting, **of)
    pair.controller.push(pair.a, pair.b, limits=limits)
    routes = channel._group.routes
    pair.until(lambda: routes.table.limits == limits)
    return routes


class Running:
    """A call in a thread of its own."""

    def __init__(self, call, *args, **how):
        self.found = None
        self._thread = threading.Thread(target=self._run, args=(call, args, how), daemon=True)
        self._thread.start()

    def _run(self, call, args, how):
        try:
            self.found = call(*args, **how)
        except Exception as error:
            self.found = error

    def result(self):
        self._thread.join(60)
        return self.found


def hold_one(pair, channel):
    """Begin a call that stays at its node."""
    pair.hold()
    first = channel.unary_unary("/t.T/Echo").future(b"0", timeout=60)
    pair.until(lambda: len(pair.calls) == 1)
    return first


@every_style
def test_a_call_waits_for_room(pair, open_in_turn, call):
    channel = open_in_turn()
    routes = limit(pair, channel)
    first = hold_one(pair, channel)
    second = Running(call, channel, timeout=60)
    pair.until(lambda: routes.waiting == 1)
    assert len(pair.calls) == 1
    pair.let_go()
    assert first.result() == b"0"
    assert second.result() == b"1"


def test_one_that_is_let_in_as_it_comes_has_one_place(pair, open_in_turn):
    channel = open_in_turn()
    gate = limit(pair, channel)._gate
    enter = gate.enter
    first = hold_one(pair, channel)

    def enter_slowly(*given):
        gate.enter, ticket = enter, enter(*given)
        pair.let_go()
        pair.until(lambda: len(pair.calls) == 2, "it goes in before it knows its ticket")
        return ticket

    gate.enter = enter_slowly
    second = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    assert (first.result(), second.result()) == (b"0", b"1")
    pair.until(lambda: not any(gate._inside.values()), "both have left")
    assert channel._group.routes.waiting == 0


@every_style
def test_one_that_may_not_wait_is_shed(pair, open_in_turn, call):
    channel = open_in_turn(IDEMPOTENT)
    limit(pair, channel, waiting=0)
    first = hold_one(pair, channel)
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "max_in_flight = 1" in caught.value.details()
    assert dict(caught.value.trailing_metadata()) == {"grpc-retry-pushback-ms": "-1"}
    assert len(pair.calls) == 1
    pair.let_go()
    assert first.result() == b"0"
    assert call(channel, timeout=60) == b"1"


@every_style
def test_a_deadline_ends_the_wait(pair, open_in_turn, call):
    channel = open_in_turn()
    limit(pair, channel)
    first = hold_one(pair, channel)
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "waited in vain for room" in caught.value.details()
    pair.let_go()
    assert first.result() == b"0"


@every_style
def test_a_call_that_moves_needs_no_more_room(pair, open_in_turn, call):
    channel = open_in_turn(IDEMPOTENT)
    limit(pair, channel)
    left = [1, 1]
    for node in (pair.a, pair.b):
        node.hook = lambda method, context: context.abort(*CLOSED) if left and left.pop() else None
    assert call(channel, timeout=60) == b"1"
    assert call(channel, timeout=60) == b"1"


def test_a_call_that_is_cancelled_in_the_line_leaves_it(pair, open_in_turn):
    channel = open_in_turn()
    routes = limit(pair, channel)
    first = hold_one(pair, channel)
    second = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    assert routes.waiting == 1
    assert second.cancel()
    assert routes.waiting == 0
    third = channel.unary_stream("/t.T/Count")(b"1", timeout=60)
    assert routes.waiting == 1
    del third
    pair.until(lambda: routes.waiting == 0)
    pair.let_go()
    assert first.result() == b"0"


def test_calls_come_in_by_their_class(pair, open_in_turn):
    channel = open_in_turn([("meshlb.priority", "low")])
    limit(pair, channel, priorities=CLASSES)
    first = hold_one(pair, channel)
    echo = channel.unary_unary("/t.T/Echo")
    named = [(("meshlb-priority", kind), ("kind", kind)) for kind in ("default", "high")]
    calls = [echo.future(b"1", timeout=60, metadata=(("kind", "low"),))]
    calls += [echo.future(b"1", timeout=60, metadata=one) for one in named]
    seen = []
    for node in (pair.a, pair.b):
        node.hook = lambda _, context: seen.append(dict(context.invocation_metadata())["kind"])
    pair.let_go()
    assert [first.result(), *(call.result() for call in calls)] == [b"0", b"1", b"1", b"1"]
    assert seen == ["high", "default", "low"]


def test_who_loses_its_place_is_told(pair, open_in_turn):
    channel = open_in_turn()
    limit(pair, channel, waiting=1, priorities=CLASSES)
    first = hold_one(pair, channel)
    echo = channel.unary_unary("/t.T/Echo")
    low = echo.future(b"1", timeout=60, metadata=(("meshlb-priority", "low"),))
    high = echo.future(b"1", timeout=60, metadata=(("meshlb-priority", "high"),))
    assert low.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pair.let_go()
    assert [first.result(), high.result()] == [b"0", b"1"]


def test_a_node_has_no_more_calls_than_all_clients_together_may_have_there(pair, open_in_turn):
    channel = open_in_turn()
    routes = channel._group.routes
    pair.controller.push(pair.a, pair.b, limits=CallLimits(None, 3, 9))
    pair.until(lambda: routes.table.limits is not None)
    pair.controller.push_share(share=0.5, in_flight={"a": 3.0, "b": 0.0}, interval_s=600.0)
    pair.until(lambda: routes.client.share == 0.5)
    for _ in range(4):
        assert STYLES["call"](channel, timeout=60) == b"1"
    assert len(pair.b.calls) == 4


def test_calls_that_wait_for_the_first_table_hold_to_its_limits(pair):
    pair.hold()
    controller = pair.add_controller("c2")
    channel = pair.channel(controller)
    echo = channel.unary_unary("/t.T/Echo")
    calls = [echo.future(b"1", timeout=60) for _ in range(3)]
    blocked = Running(STYLES["call"], channel, timeout=60)
    routes = channel._group.routes
    pair.until(lambda: routes.waiting == 4)
    controller.push(pair.a, pair.b, limits=CallLimits(1, None, 9))
    pair.until(lambda: len(pair.calls) == 1)
    pair.until(lambda: routes.waiting == 3)
    pair.let_go()
    assert [*(call.result() for call in calls), blocked.result()] == [b"1"] * 4


def test_when_limits_are_lifted_all_come_in(pair, open_in_turn):
    channel = open_in_turn()
    routes = limit(pair, channel)
    first = hold_one(pair, channel)
    second = Running(STYLES["call"], channel, timeout=60)
    third = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: routes.waiting == 2)
    pair.controller.push(pair.a, pair.b)
    pair.until(lambda: len(pair.calls) == 3)
    pair.let_go()
    assert [first.result(), second.result(), third.result()] == [b"0", b"1", b"1"]


def test_a_channel_that_is_closed_ends_calls_in_the_line(pair):
    channel, other = pair.channel(), pair.channel()
    STYLES["call"](channel, timeout=60)
    routes = limit(pair, channel)
    pair.a.calls.clear()
    pair.b.calls.clear()
    first = hold_one(pair, other)
    second = Running(STYLES["call"], channel, timeout=60)
    third = channel.unary_unary("/t.T/Echo").future(b"1", timeout=60)
    pair.until(lambda: routes.waiting == 2)
    channel.close()
    assert isinstance(second.result(), ValueError)
    assert third.cancelled()
    pair.let_go()
    assert first.result() == b"0"
    pair.until(lambda: routes.waiting == 0)


@pytest.mark.timeout(200)
def test_many_threads_keep_to_the_limit(pair, open_in_turn):
    channel = open_in_turn()
    routes = limit(pair, channel, in_flight=3, waiting=99)
    lock, at_work, seen = threading.Lock(), [], []

    def hook(*_):
        with lock:
            at_work.append(1)
            seen.append(len(at_work))
        threading.Event().wait(0.001)
        with lock:
            at_work.pop()

    pair.a.hook = pair.b.hook = hook

    def call_often(number):
        styles = list(STYLES.values())
        return [styles[(number + n) % len(styles)](channel, timeout=100) for n in range(12)]

    running = [Running(call_often, number) for number in range(8)]
    assert all(one.result() == [b"1"] * 12 for one in running)
    assert max(seen) <= 3
    assert len(seen) == 96
    assert routes.waiting == 0
