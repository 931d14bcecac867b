"""A response stream that does not begin is asked of another node too. For asyncio."""

import asyncio

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import routes_of
from tests.client.channel_options import config
from tests.client.fakes import CLOSED, aborting
from tests.client.hanging import MARKED, FirstHangs
from tests.waiting import until_aio

HEDGED = config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "0.01s"})


def count(channel, request=b"3"):
    return channel.unary_stream("/t.T/Count")(request, timeout=60, metadata=MARKED)


async def all_of(call):
    return [message async for message in call]


@pytest.mark.parametrize("request_", [b"3", b"0"])
def test_the_first_that_has_an_answer_is_read(pair, run_in_turn, request_):
    async def go(channel):
        first = FirstHangs(pair)
        call = count(channel, request_)
        assert await all_of(call) == [b"%d" % n for n in range(int(request_))]
        assert await call.code() is grpc.StatusCode.OK
        assert sorted(first.nodes) == ["a", "b"]
        assert dict(await call.trailing_metadata())["node"] == first.nodes[1]
        first.released.set()

    run_in_turn(go, HEDGED)


def test_after_the_first_message_nothing_is_asked_twice(run_in_turn):
    async def go(channel):
        call = count(channel)
        assert await call.read() == b"0"
        assert call._course._timer.cancelled()
        assert await all_of(call) == [b"1", b"2"]

    run_in_turn(go, config(hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "600s"}))


def test_a_second_attempt_that_fails_leaves_the_call_to_the_first(pair, run_in_turn):
    async def go(channel):
        pair.a.gate.clear()
        pair.b.hook = aborting(*CLOSED)
        call = count(channel)
        reading = asyncio.create_task(all_of(call))
        await until_aio(lambda: pair.a.calls and pair.b.calls)
        await until_aio(lambda: call._course._other is None and call._course._hedged)
        pair.a.gate.set()
        assert await reading == [b"0", b"1", b"2"]

    run_in_turn(go, HEDGED)


def test_a_first_attempt_that_fails_leaves_the_call_to_the_second(pair, run_in_turn):
    async def go(channel):
        seen = []

        def hook(_, context):
            seen.append(1)
            if len(seen) == 1:
                pair.until(lambda: len(seen) == 2)
                context.abort(*CLOSED)

        pair.a.hook = pair.b.hook = hook
        assert await all_of(count(channel)) == [b"0", b"1", b"2"]

    run_in_turn(go, HEDGED)


def test_a_status_that_is_the_callers_own_ends_the_call(pair, run_in_turn):
    async def go(channel):
        pair.a.gate.clear()
        pair.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
        for _ in range(4):  # of which the hanging node is the first of two at the least
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await all_of(count(channel))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert pair.a.calls
        pair.a.gate.set()

    run_in_turn(go, HEDGED)


def test_one_whose_reader_is_cancelled_ends_both_attempts(pair, run_in_turn, busy):
    async def go(channel):
        pair.hold()
        reading = asyncio.create_task(all_of(count(channel)))
        await until_aio(lambda: len(pair.calls) == 2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until_aio(lambda: busy(routes_of(channel)) == 0)
        pair.let_go()

    run_in_turn(go, HEDGED)
