"""An attempt that is not answered in time is ended, and the call goes on elsewhere. For asyncio."""

import asyncio

import grpc
import grpc.aio
import pytest

from meshlb.client.aio_course import AioCourse
from meshlb.client.tries import UNANSWERED
from tests.client.channel_options import config
from tests.client.hanging import MARKED, FirstHangs
from tests.client.test_attempt_limits import IDLE, LIMITED, rest
from tests.waiting import until_aio

HOW = {"timeout": 60, "metadata": MARKED}


async def echo(channel):
    return await channel.unary_unary("/t.T/Echo")(b"1", **HOW)


async def echo_unawaited(channel):
    call = channel.unary_unary("/t.T/Echo")(b"1", **HOW)
    await until_aio(call.done)
    return await call


async def stream(channel):
    return b"".join([m async for m in channel.unary_stream("/t.T/Count")(b"2", **HOW)])[1:]


async def stream_read(channel):
    call = channel.unary_stream("/t.T/Count")(b"2", **HOW)
    await call.read()
    return await call.read()


@pytest.fixture
def hanging(pair):
    made = []

    def first_hangs(at_message=None):
        made.append(FirstHangs(pair, at_message))
        return made[0]

    yield first_hangs
    for one in made:
        one.released.set()


@pytest.mark.parametrize("call", [echo, echo_unawaited, stream, stream_read])
def test_a_call_that_its_node_does_not_answer_is_answered_by_another(run_in_turn, hanging, call):
    async def go(channel):
        first = hanging()
        assert await call(channel) == b"1"
        assert sorted(first.nodes) == ["a", "b"]
        first.released.set()

    run_in_turn(go, LIMITED)


def test_the_callers_own_deadline_and_cancel_end_the_call(pair, run_in_turn):
    async def go(channel):
        pair.hold()
        for begin in (channel.unary_unary("/t.T/Echo"), channel.unary_stream("/t.T/Count")):
            call = begin(b"1", timeout=0.05)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        before = len(pair.calls)
        reading = asyncio.create_task(channel.unary_stream("/t.T/Count")(b"1", timeout=60).read())
        await until_aio(lambda: len(pair.calls) > before)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        pair.let_go()

    run_in_turn(go, config(idempotent=True, perAttemptRecvTimeout="600s"))


def test_a_stream_that_falls_silent_is_taken_up_elsewhere(run_in_turn, hanging):
    async def go(channel):
        first = hanging(at_message=1)
        call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
        assert len([m async for m in call]) == 4
        assert await call.code() is grpc.StatusCode.OK
        assert {"a", "b"} <= set(first.nodes)
        first.released.set()

    run_in_turn(go, [*IDLE, ("meshlb.resume", {"/t.T/Count": rest})])


def test_one_that_is_silent_when_nothing_is_missing_ends_well(run_in_turn, hanging):
    async def go(channel):
        first = hanging(at_message=3)
        call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
        assert len([m async for m in call]) == 4
        assert await call.code() is grpc.StatusCode.OK
        first.released.set()

    run_in_turn(go, [*IDLE, ("meshlb.resume", {"/t.T/Count": rest})])


@pytest.mark.parametrize("messages", [1, 3])
def test_a_message_that_comes_as_its_attempt_is_given_up_is_left_to_the_next(
    run_in_turn, monkeypatch, messages
):
    read = AioCourse.next_of
    given_up = []

    async def given_up_as_it_comes(course, inner):
        message = await read(course, inner)
        if not given_up:
            given_up.append(inner)
            course.patience.over, course.given_up = True, inner
            inner.cancel()
        return message

    monkeypatch.setattr(AioCourse, "next_of", given_up_as_it_comes)

    async def go(channel):
        call = channel.unary_stream("/t.T/Count")(b"%d" % messages, timeout=60)
        assert [m async for m in call] == [b"%d" % n for n in range(messages)]
        assert await call.code() is grpc.StatusCode.OK

    run_in_turn(go, config(idempotent=True, perAttemptRecvTimeout="600s"))


def test_one_that_cannot_be_taken_up_says_why_it_ended(run_in_turn, hanging):
    async def go(channel):
        first = hanging(at_message=1)
        call = channel.unary_stream("/t.T/Count")(b"4", **HOW)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert UNANSWERED in caught.value.details()
        first.released.set()

    run_in_turn(go, [*IDLE, ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})])


def test_the_limit_follows_from_what_calls_take(run_in_turn, hanging):
    async def go(channel):
        stub = channel.unary_unary("/t.T/Echo")
        for _ in range(60):
            assert await stub(b"1", timeout=60) == b"1"
        assert stub._method.attempt_s(0.0) is not None
        first = hanging()
        assert await echo_with(stub) == b"1"
        assert sorted(first.nodes) == ["a", "b"]
        first.released.set()

    run_in_turn(go, config(idempotent=True))


async def echo_with(stub):
    return await stub(b"1", **HOW)
