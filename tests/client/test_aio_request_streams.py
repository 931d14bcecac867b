"""Streams of requests for asyncio: read once, in one task, sent again whole, ended with their call.

gRPC puts INTERNAL over the status of a stream whose end meets a write; ours tells the true one.
"""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import all_ready, routes_of
from tests.client.fakes import aborting
from tests.waiting import until_aio


async def five():
    for n in range(5):
        yield b"%d" % n


async def write_five(call):
    with contextlib.suppress(asyncio.InvalidStateError):  # the call has ended already
        for n in range(5):
            await call.write(b"%d" % n)
    await call.done_writing()


async def join(channel, **how):
    return await channel.stream_unary("/t.T/Join")(five(), **how)


async def join_written(channel, **how):
    call = channel.stream_unary("/t.T/Join")(**how)
    await write_five(call)
    return await call


async def chat(channel, **how):
    return b",".join([m async for m in channel.stream_stream("/t.T/Chat")(five(), **how)])


async def chat_written(channel, **how):
    call = channel.stream_stream("/t.T/Chat")(**how)
    await write_five(call)
    return b",".join([m async for m in call])


CALLS = (join, join_written, chat, chat_written)


every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


WHOLE = b"0,1,2,3,4"


ONCE_MORE = {"initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}


@every_call
def test_the_true_status_reaches_the_caller(world, run_quietly, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, timeout=60)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == "no such thing"
            assert dict(caught.value.trailing_metadata())["node"] in "ab"
        assert len(world.calls) == 20
        held = channel.stream_stream("/t.T/Chat")(five())
        await until_aio(held.done)
        assert await held.code() is grpc.StatusCode.NOT_FOUND
        assert await held.details() == "no such thing"
        assert dict(await held.trailing_metadata())["node"] in "ab"
        assert "no such thing" in await held.debug_error_string()

    run_quietly(go)


@every_call
def test_the_true_status_decides_on_retries(world, run_quietly, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.ABORTED, "again")
        for tries in range(1, 6):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, timeout=60)
            assert caught.value.code() is grpc.StatusCode.ABORTED
            assert len(world.calls) == 3 * tries

    run_quietly(
        go, retryPolicy={"maxAttempts": 3, "retryableStatusCodes": ["ABORTED"], **ONCE_MORE}
    )


@every_call
def test_an_idempotent_stream_is_sent_again_whole(world, run_quietly, call):
    async def go(channel):
        world.a.hook = aborting(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        for _ in range(8):
            assert await call(channel, timeout=60) == WHOLE
            await all_ready(channel)
        assert len(world.b.calls) == 8
        assert world.a.calls

    run_quietly(go, idempotent=True)


def test_a_call_that_nobody_awaits_goes_on_all_the_same(world, run_quietly):
    async def go(channel):
        world.a.hook = aborting(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        calls = [channel.unary_unary("/t.T/Echo")(b"1") for _ in range(4)]
        calls += [channel.stream_unary("/t.T/Join")(five()) for _ in range(4)]
        await until_aio(lambda: all(call.done() for call in calls))
        assert [await call.code() for call in calls] == [grpc.StatusCode.OK] * 8
        assert len(world.b.calls) == 8

    run_quietly(go, idempotent=True)


@every_call
def test_a_back_off_can_be_cancelled_and_none_outlasts_the_deadline(world, run_quietly, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.UNAVAILABLE, "busy")
        task = asyncio.create_task(call(channel))
        routes = routes_of(channel)
        await until_aio(lambda: sum(n.failed for n in routes.nodes.values()) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, timeout=60)
        assert caught.value.details() == "busy"
        assert len(world.calls) == 2

    policy = {**ONCE_MORE, "initialBackoff": "500s", "maxBackoff": "500s"}
    run_quietly(
        go, retryPolicy={"maxAttempts": 3, "retryableStatusCodes": ["UNAVAILABLE"], **policy}
    )


def test_requests_are_read_one_by_one_in_one_task_over_all_attempts(world, run_quietly):
    asked, tasks = [], set()

    async def requests():
        async with asyncio.timeout(100):  # belongs to the task that entered it
            for n in range(5):
                tasks.add(asyncio.current_task())
                asked.append(n)
                yield b"%d" % n

    async def go(channel):
        await asyncio.to_thread(world.lost, channel, world.a)
        for turn in range(1, 5):
            assert await channel.stream_unary("/t.T/Join")(requests(), timeout=60) == WHOLE
            assert asked == list(range(5)) * turn
            assert len(tasks) <= turn

    run_quietly(go)


def test_endless_requests_end_with_their_call(world, run_quietly):
    ended = []

    async def endless():
        try:
            while True:
                yield b"x"
        finally:
            ended.append(True)

    def never_waiting():
        while True:
            yield b"x"

    async def go(channel):
        chat = channel.stream_stream("/t.T/Chat")
        for requests in (endless(), never_waiting()):
            call = chat(requests)
            for _ in range(3):
                assert await call.read() == b"x"
            call.cancel()
        world.a.after_message = world.b.after_message = lambda n, context: context.abort(
            grpc.StatusCode.ABORTED, "enough"
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in chat(endless()):
                pass
        assert caught.value.details() == "enough"
        await until_aio(lambda: len(ended) == 2)

    run_quietly(go)
