"""A call that takes long is asked of another node too; the first answer counts. For asyncio."""

import asyncio

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import routes_of
from tests.client.channel_options import config
from tests.client.fakes import CLOSED, aborting
from tests.client.hanging import HeldBack
from tests.waiting import until_aio

HEDGED = config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "0.01s"})


def begin(channel, **how):
    return channel.unary_unary("/t.T/Echo")(b"1", **{"timeout": 60, **how})


def stalled(channel):
    return [n.info.node_id for n in routes_of(channel).nodes.values() if n.suspected]


def test_a_node_that_hangs_costs_no_call_and_is_left_alone(pair, run_in_turn):
    async def go(channel):
        pair.a.gate.clear()
        while not stalled(channel):
            call = begin(channel)
            assert await call == b"1"
            assert await call.code() is grpc.StatusCode.OK
            assert dict(await call.initial_metadata())["node"] == "b"
            assert dict(await call.trailing_metadata())["node"] == "b"
        assert stalled(channel) == ["a"]
        pair.a.gate.set()
        await until_aio(lambda: not stalled(channel), "it is tried again")
        pair.a.calls.clear()
        while not pair.a.calls:
            assert await begin(channel) == b"1"

    run_in_turn(go, HEDGED)


def test_under_interceptors_too(pair, run_in_turn):
    class Counting(grpc.aio.UnaryUnaryClientInterceptor):
        seen = 0

        async def intercept_unary_unary(self, continuation, details, request):
            self.seen += 1
            return await continuation(details, request)

    counting = Counting()

    async def go(channel):
        pair.a.gate.clear()
        for _ in range(4):
            assert await begin(channel) == b"1"
        assert counting.seen == 4
        pair.a.gate.set()

    run_in_turn(go, HEDGED, [counting])


def test_a_second_attempt_that_fails_leaves_the_call_to_the_first(pair, run_in_turn):
    async def go(channel):
        pair.a.gate.clear()
        pair.b.hook = aborting(*CLOSED)
        call = begin(channel)
        await until_aio(lambda: pair.a.calls and pair.b.calls)
        await until_aio(lambda: call._course._other is None and call._course._hedged)
        pair.a.gate.set()
        assert await call == b"1"

    run_in_turn(go, HEDGED)


def test_a_first_attempt_that_fails_leaves_the_call_to_the_second(pair, run_in_turn):
    async def go(channel):
        pair.hold()
        call = begin(channel)
        await until_aio(lambda: len(pair.calls) == 2)
        first = call._course._attempt[0].info.node_id
        slow, other = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
        await asyncio.to_thread(slow.stop)  # its calls break
        other.gate.set()
        assert await call == b"1"
        assert len(pair.calls) == 2

    run_in_turn(go, HEDGED)


@pytest.mark.parametrize("pushback_ms", [None, "-1", "1000000"])
@pytest.mark.parametrize("which", ["first", "second"])
def test_one_that_fails_and_may_not_be_repeated_leaves_the_call_to_the_other(
    pair, run_in_turn, which, pushback_ms
):
    async def go(channel):
        held = HeldBack(pair)
        call = begin(channel)
        course = call._course
        await until_aio(lambda: len(pair.calls) == 2 and course._other)
        routes_of(channel).budget.take = lambda started, now: False
        first, second = course._attempt[0].info.node_id, course._other[0].info.node_id
        failing, other = (first, second) if which == "first" else (second, first)
        held.fail(failing, pushback_ms)
        await until_aio(lambda: course._other is None)
        held.let_go(other)
        assert await call == b"1"

    run_in_turn(go, HEDGED)


def test_a_call_that_its_caller_cancels_ends_both_attempts(pair, run_in_turn, busy):
    async def go(channel):
        pair.hold()
        call = begin(channel)
        await until_aio(lambda: len(pair.calls) == 2)
        assert call.cancel()
        assert call.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await call
        task = asyncio.create_task(await_it(begin(channel)))
        await until_aio(lambda: len(pair.calls) == 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_aio(lambda: busy(routes_of(channel)) == 0)
        pair.let_go()

    run_in_turn(go, HEDGED)


async def await_it(call):
    return await call


def test_one_that_is_dropped_ends_both_attempts(pair, run_in_turn, busy):
    async def go(channel):
        pair.hold()
        call = begin(channel)
        await until_aio(lambda: len(pair.calls) == 2)
        del call
        await until_aio(lambda: busy(routes_of(channel)) == 0)
        pair.let_go()

    run_in_turn(go, HEDGED)


def test_a_status_that_is_the_callers_own_ends_the_call_and_both_attempts(pair, run_in_turn):
    async def go(channel):
        pair.a.gate.clear()
        pair.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
        for _ in range(4):  # of which the hanging node is the first of two at the least
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await begin(channel)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == "no such thing"
        assert pair.a.calls
        pair.a.gate.set()

    run_in_turn(go, HEDGED)


def test_a_channel_that_is_being_closed_begins_no_second_attempt(pair, run_in_turn):
    async def go(channel):
        pair.hold()
        call = begin(channel)
        await until_aio(lambda: len(pair.calls) == 1)
        channel._here.view.close()
        call._course._hedge(call._course.inner)
        pair.let_go()
        assert await call == b"1"
        assert len(pair.calls) == 1

    run_in_turn(go, config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "600s"}))
