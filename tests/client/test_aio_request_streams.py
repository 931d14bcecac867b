"""Streams of requests for asyncio: read once, in one task, sent again whole, ended with their call.

gRPC puts INTERNAL over the status of a stream whose end meets a write; ours tells the true one.
"""

import asyncio
import contextlib
import gc
import json

import grpc
import grpc.aio
import pytest

import meshlb
from meshlb.client import aio_course


@pytest.fixture
def run(world, busy):
    """Run ``go(channel)`` over two connected nodes, in a loop that must have no complaint."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)
    complaints = []

    def complain(_, context):
        # gRPC tells the loop that runs of what came too late for one that has ended.
        if "PollerCompletionQueue" not in context["message"]:
            complaints.append(context)

    async def watched(go, method):
        asyncio.get_running_loop().set_exception_handler(complain)
        options = [("meshlb.picker", "round_robin")]
        if method:
            config = {"methodConfig": [{"name": [{}], **method}]}
            options.append(("grpc.service_config", json.dumps(config)))
        async with meshlb.aio.insecure_channel(world.target(), options) as channel:
            await channel.channel_ready()
            await connected(channel)
            await go(channel)
            await until(lambda: busy(channel._here.group.routes) == 0, "none in flight")
            assert not channel._here.calls
        gc.collect()
        await asyncio.sleep(0)

    def run_it(go, **method):
        asyncio.run(asyncio.wait_for(watched(go, method), 100))
        gc.collect()
        assert complaints == []

    return run_it


async def until(true, what="", limit_s=60.0):
    loop = asyncio.get_running_loop()
    give_up = loop.time() + limit_s
    while not true():
        assert loop.time() < give_up, f"waited in vain: {what or true}"
        await asyncio.sleep(0.005)


async def connected(channel):
    nodes = channel._here.group.routes.nodes
    await until(
        lambda: (
            channel.get_state(try_to_connect=True)
            and all(n.link_state.value == "ready" for n in nodes.values())
        )
    )


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


def aborting(code, text):
    return lambda method, context: context.abort(code, text)


@every_call
def test_the_true_status_reaches_the_caller(world, run, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, timeout=60)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == "no such thing"
            assert dict(caught.value.trailing_metadata())["node"] in "ab"
        assert len(world.a.calls) + len(world.b.calls) == 20
        held = channel.stream_stream("/t.T/Chat")(five())
        await until(held.done)
        assert await held.code() is grpc.StatusCode.NOT_FOUND
        assert await held.details() == "no such thing"
        assert dict(await held.trailing_metadata())["node"] in "ab"
        assert "no such thing" in await held.debug_error_string()

    run(go)


@every_call
def test_the_true_status_decides_on_retries(world, run, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.ABORTED, "again")
        for tries in range(1, 6):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, timeout=60)
            assert caught.value.code() is grpc.StatusCode.ABORTED
            assert len(world.a.calls) + len(world.b.calls) == 3 * tries

    run(go, retryPolicy={"maxAttempts": 3, "retryableStatusCodes": ["ABORTED"], **ONCE_MORE})


@every_call
def test_an_idempotent_stream_is_sent_again_whole(world, run, call):
    async def go(channel):
        world.a.hook = aborting(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        for _ in range(8):
            assert await call(channel, timeout=60) == WHOLE
            await connected(channel)
        assert len(world.b.calls) == 8
        assert world.a.calls

    run(go, idempotent=True)


def test_a_call_that_nobody_awaits_goes_on_all_the_same(world, run):
    async def go(channel):
        world.a.hook = aborting(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        calls = [channel.unary_unary("/t.T/Echo")(b"1") for _ in range(4)]
        calls += [channel.stream_unary("/t.T/Join")(five()) for _ in range(4)]
        await until(lambda: all(call.done() for call in calls))
        assert [await call.code() for call in calls] == [grpc.StatusCode.OK] * 8
        assert len(world.b.calls) == 8

    run(go, idempotent=True)


@every_call
def test_a_back_off_can_be_cancelled_and_none_outlasts_the_deadline(world, run, call):
    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.UNAVAILABLE, "busy")
        task = asyncio.create_task(call(channel))
        routes = channel._here.group.routes
        await until(lambda: sum(n.failed for n in routes.nodes.values()) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, timeout=60)
        assert caught.value.details() == "busy"
        assert len(world.a.calls) + len(world.b.calls) == 2

    policy = {**ONCE_MORE, "initialBackoff": "500s", "maxBackoff": "500s"}
    run(go, retryPolicy={"maxAttempts": 3, "retryableStatusCodes": ["UNAVAILABLE"], **policy})


def test_requests_are_read_one_by_one_in_one_task_over_all_attempts(world, run):
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

    run(go)


def test_endless_requests_end_with_their_call(world, run):
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
        await until(lambda: len(ended) == 2)

    run(go)


EARLY = [b"a", b"b", b"c"]


@pytest.fixture
def early(world, run):
    """Make nodes answer before they have read the requests; then they may abort."""

    def end(context):
        if world.aborts:
            context.abort(grpc.StatusCode.ABORTED, "enough")

    def many(requests, context):
        yield from EARLY
        end(context)

    def one(requests, context):
        end(context)
        return b"one"

    for node in (world.a, world.b):
        node._early = lambda: grpc.stream_stream_rpc_method_handler(many)
        node._earlyone = lambda: grpc.stream_unary_rpc_method_handler(one)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("aborts", [False, True])
def test_nothing_is_lost_of_an_early_answer(world, run, aborts):
    world.aborts = aborts
    ends = grpc.StatusCode.ABORTED if aborts else grpc.StatusCode.OK
    error = pytest.raises(grpc.aio.AioRpcError) if aborts else contextlib.nullcontext()

    async def go(channel):
        many = channel.stream_stream("/t.T/Early")
        one = channel.stream_unary("/t.T/EarlyOne")
        for _ in range(30):
            call, got = many(five()), []
            with error:
                async for message in call:
                    got.append(message)  # noqa: PERF401 - those before an error count
            assert got == EARLY
            assert await call.code() is ends
            call = one(five())
            with error:
                assert await call == b"one"
            assert await call.code() is ends

    run(go)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("aborts", [False, True])
def test_a_writer_may_read_an_early_answer_after_it_was_told_to_stop(
    world, run, aborts, monkeypatch
):
    monkeypatch.setattr("meshlb.client.aio_course.UNMASKED_AFTER_S", (0.0, 0.0, 0.01))
    world.aborts = aborts

    async def go(channel):
        for _ in range(10):
            call = channel.stream_stream("/t.T/Early")()
            with contextlib.suppress(asyncio.InvalidStateError):
                while True:
                    await call.write(b"x")
            assert [await call.read() for _ in EARLY] == EARLY
            if aborts:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.details() == "enough"
            else:
                assert await call.read() is grpc.aio.EOF
                assert await call.code() is grpc.StatusCode.OK

    run(go)


def test_a_writer_is_told_when_the_call_ends(world, run):
    async def write_on(call):
        while True:
            await call.write(b"x")

    async def go(channel):
        world.a.hook = world.b.hook = aborting(grpc.StatusCode.ABORTED, "enough")
        for make in (
            channel.stream_stream("/t.T/Chat"),
            channel.stream_unary("/t.T/Join"),
        ):
            call = make()
            with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                await write_on(call)
            with pytest.raises(asyncio.InvalidStateError):
                await call.write(b"x")
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.ABORTED

    run(go)


class Ended:
    """gRPC's call, whose end meets whatever is written."""

    cancelled = False

    async def write(self, request):
        """Take it."""

    async def done_writing(self):
        raise grpc.aio.InternalError("the call has ended")

    def cancel(self):
        self.cancelled = True


def test_an_end_that_meets_the_last_request_is_no_cancel():
    call = Ended()
    asyncio.run(aio_course._send(call, five()))
    assert not call.cancelled


def test_requests_that_cannot_be_had_are():
    async def broken():
        yield b"1"
        raise RuntimeError("the caller's own")

    call = Ended()
    asyncio.run(aio_course._send(call, broken()))
    assert call.cancelled
