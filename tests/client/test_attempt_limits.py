"""An attempt that is not answered in time is ended, and the call goes on elsewhere. For threads."""

import grpc
import pytest

from meshlb.client.tries import UNANSWERED
from tests.client.channel_options import IDEMPOTENT, config
from tests.client.fakes import aborting
from tests.client.hanging import MARKED, FirstHangs

LIMITED = config(idempotent=True, perAttemptRecvTimeout="0.01s")
HOW = {"timeout": 60, "metadata": MARKED}


def echo(channel):
    return channel.unary_unary("/t.T/Echo")(b"1", **HOW)


STYLES = {
    "call": echo,
    "with_call": lambda c: c.unary_unary("/t.T/Echo").with_call(b"1", **HOW)[0],
    "future": lambda c: c.unary_unary("/t.T/Echo").future(b"1", **HOW).result(),
    "stream": lambda c: b"".join(c.unary_stream("/t.T/Count")(b"2", **HOW))[1:],
}


@pytest.fixture
def hanging(pair):
    made = []

    def first_hangs(at_message=None):
        made.append(FirstHangs(pair, at_message))
        return made[0]

    yield first_hangs
    for one in made:
        one.released.set()


@pytest.mark.parametrize("call", STYLES.values(), ids=STYLES)
def test_a_call_that_its_node_does_not_answer_is_answered_by_another(open_in_turn, hanging, call):
    channel = open_in_turn(LIMITED)
    first = hanging()
    assert call(channel) == b"1"
    assert sorted(first.nodes) == ["a", "b"]


def test_it_is_so_for_methods_that_the_controller_names(pair, open_in_turn, hanging):
    channel = open_in_turn()
    pair.controller.push(pair.a, pair.b, idempotent_methods=("/t.T/",))
    pair.until(lambda: channel._group.routes.table.idempotent_methods)
    stub = channel.unary_unary("/t.T/Echo")
    pair.until(lambda: stub(b"1", timeout=60) and stub._method.attempt_s(0.0) is not None)
    first = hanging()
    assert stub(b"1", **HOW) == b"1"
    assert sorted(first.nodes) == ["a", "b"]


def test_the_limit_follows_from_what_calls_take(pair, open_in_turn, hanging):
    channel = open_in_turn(IDEMPOTENT)
    stub = channel.unary_stream("/t.T/Count")
    assert stub._method.attempt_s(0.0) is None, "nothing is known yet"
    pair.until(lambda: list(stub(b"2", timeout=60)) and stub._method.attempt_s(0.0) is not None)
    first = hanging()
    assert list(stub(b"2", **HOW)) == [b"0", b"1"]
    assert sorted(first.nodes) == ["a", "b"]


def test_a_method_that_is_not_idempotent_has_no_limit(open_in_turn):
    for options in ((), config(idempotent=False)):
        stub = open_in_turn(options).unary_unary("/t.T/Echo")
        for _ in range(40):
            assert stub(b"1", timeout=60) == b"1"
        assert stub._method.attempt_s(0.0) is None


def test_one_of_0_seconds_is_none(open_in_turn):
    options = config(idempotent=True, perAttemptRecvTimeout="0s")
    assert open_in_turn(options).unary_unary("/t.T/Echo")._method.attempt_s(0.0) is None


def test_only_an_attempt_that_another_can_follow_is_limited(pair, open_in_turn):
    channel = open_in_turn(LIMITED)
    method = channel.unary_unary("/t.T/Echo")._method
    channel._view.refresh()
    assert method.attempt_s(0.0) == 0.01
    assert method.attempt_s(0.0, attempts=1) is None, "there is no third node"
    channel._group.routes.budget.has_room = lambda started, now: False
    assert method.attempt_s(0.0) is None, "nothing is left to repeat it from"


def test_the_callers_own_deadline_ends_the_call(pair, open_in_turn):
    channel = open_in_turn(config(idempotent=True, perAttemptRecvTimeout="600s"))
    pair.hold()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Echo")(b"1", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stream = channel.unary_stream("/t.T/Count")(b"1", timeout=0.05)
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    pair.let_go()


def test_a_stream_that_nobody_reads_is_not_late(open_in_turn):
    channel = open_in_turn(LIMITED)
    stream = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
    assert stream._course._patience.first_s == 0.01
    assert stream._course._patience.due is None
    assert list(stream) == [b"0", b"1"]


class GivenUp:
    """gRPC's call of an attempt that is given up just as its first message comes."""

    def __init__(self, course):
        self._call, self._patience = course.inner, course._patience

    def __next__(self):
        message = next(self._call)
        self._patience.over = True
        self._call.cancel()
        return message

    def __getattr__(self, name):
        return getattr(self._call, name)


@pytest.mark.parametrize("messages", [1, 3])
def test_a_message_that_comes_as_its_attempt_is_given_up_is_left_to_the_next(
    open_in_turn, messages
):
    channel = open_in_turn(config(idempotent=True, perAttemptRecvTimeout="600s"))
    call = channel.unary_stream("/t.T/Count")(b"%d" % messages, timeout=60)
    call._course.inner = GivenUp(call._course)
    assert list(call) == [b"%d" % n for n in range(messages)]
    assert call.code() is grpc.StatusCode.OK


def rest(request, received):
    left = int(request) - len(received)
    return b"%d" % left if left else None


IDLE = config(idempotent=True, idleTimeout="0.05s", perAttemptRecvTimeout="0s")


def test_a_stream_that_falls_silent_is_taken_up_elsewhere(open_in_turn, hanging):
    channel = open_in_turn([*IDLE, ("meshlb.resume", {"/t.T/Count": rest})])
    first = hanging(at_message=1)
    call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
    assert len(list(call)) == 4
    assert call.code() is grpc.StatusCode.OK
    assert {"a", "b"} <= set(first.nodes)


def test_one_that_is_silent_when_nothing_is_missing_ends_well(open_in_turn, hanging):
    channel = open_in_turn([*IDLE, ("meshlb.resume", {"/t.T/Count": rest})])
    hanging(at_message=3)
    call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
    assert len(list(call)) == 4
    assert call.code() is grpc.StatusCode.OK


def test_one_that_cannot_be_taken_up_says_why_it_ended(open_in_turn, hanging):
    hook = ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})
    channel = open_in_turn([*IDLE, hook])
    hanging(at_message=1)
    call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert UNANSWERED in caught.value.details()


def test_without_a_hook_a_stream_may_be_silent(open_in_turn):
    channel = open_in_turn(config(idleTimeout="0.01s"))
    assert channel.unary_stream("/t.T/Count")._method.idle_s is None


def test_so_may_one_with_many_requests_which_no_hook_takes_up(open_in_turn):
    channel = open_in_turn([*IDLE, ("meshlb.resume", {"/t.T/Chat": rest})])
    assert channel.stream_stream("/t.T/Chat")._method.idle_s is None


@pytest.mark.parametrize("call", STYLES.values(), ids=STYLES)
def test_a_servers_own_word_that_time_is_over_is_no_limit_of_ours(pair, open_in_turn, call):
    channel = open_in_turn(config(idempotent=True, perAttemptRecvTimeout="50s"))
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.DEADLINE_EXCEEDED, "the model is late")
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)
    assert caught.value.details() == "the model is late"
    assert len(pair.calls) == 1
