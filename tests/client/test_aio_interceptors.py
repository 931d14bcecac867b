"""grpc.aio interceptors over an asyncio channel of ours, of all four kinds."""

import asyncio

import grpc
import grpc.aio
import pytest

import meshlb
from tests.client.aio_calls import (
    CALLS,
    chat,
    chat_written,
    count,
    count_read,
    echo,
    every_call,
    every_given_call,
    given,
    join,
    join_written,
    routes_of,
)
from tests.client.fakes import aborting
from tests.waiting import until_aio


class Every(
    grpc.aio.UnaryUnaryClientInterceptor,
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    """Runs ``step(continuation, details, request)`` for calls of every arity."""

    def __init__(self, step):
        self.step = step

    async def intercept_unary_unary(self, continuation, details, request):
        return await self.step(continuation, details, request)

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = (
        intercept_unary_unary
    )


@pytest.fixture
def run(run_in_turn):
    """Run ``go(channel)`` through interceptors, over two connected nodes."""
    return lambda go, *interceptors: run_in_turn(go, interceptors=interceptors)


@every_call
def test_the_first_is_outermost(run, call):
    seen = []

    def named(name):
        async def step(continuation, details, request):
            seen.append(f"{name} in")
            answer = await continuation(details, request)
            seen.append(f"{name} out")
            return answer

        return Every(step)

    async def go(channel):
        assert (await call(channel)).startswith((b"1", b"0"))
        assert seen == ["1 in", "2 in", "2 out", "1 out"]

    run(go, named("1"), named("2"))


@every_call
def test_each_runs_once_a_call_however_many_attempts(world, run, call):
    seen = []

    async def step(continuation, details, request):
        seen.append(details.method)
        return await continuation(details, request)

    async def go(channel):
        await asyncio.to_thread(world.lost, channel, world.a)
        for _ in range(4):
            assert (await call(channel)).startswith((b"1", b"0"))
        assert len(seen) == 4
        assert len(world.b.calls) == 4

    run(go, Every(step))


@every_call
def test_metadata_and_timeout_can_be_changed(world, run, call):
    async def step(continuation, details, request):
        metadata = details.metadata or grpc.aio.Metadata()
        metadata.add("added", "1")
        return await continuation(details._replace(metadata=metadata, timeout=60), request)

    async def go(channel):
        await call(channel)
        assert [m["added"] for m in (*world.a.metadata, *world.b.metadata)] == ["1"]

    run(go, Every(step))


def test_the_request_can_be_changed(run):
    async def one(continuation, details, request):
        return await continuation(details, b"2")

    async def many(continuation, details, requests):
        async def doubled():
            async for request in requests:
                yield request * 2

        return await continuation(details, doubled())

    async def unary(channel):
        assert await echo(channel) == b"2"
        assert await count(channel) == b"01"

    async def streams(channel):
        for call in (join, join_written, chat):
            assert await call(channel) == b"11,22"
        assert await chat_written(channel) == b"11"

    run(unary, Every(one))
    run(streams, Every(many))


@every_given_call
def test_errors_are_seen_by_interceptor_and_caller(world, run, call):
    world.a.hook = world.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no such thing")
    codes = []

    async def step(continuation, details, request):
        answer = await continuation(details, request)
        if isinstance(answer, grpc.aio.Call):
            codes.append(answer)
        return answer

    async def go(channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert await codes[0].code() is grpc.StatusCode.NOT_FOUND

    run(go, Every(step))


def test_one_that_answers_by_itself_calls_no_node(world, run):
    async def one(continuation, details, request):
        return b"own"

    async def many(continuation, details, request):
        return given(b"o", b"wn")

    async def unary(channel):
        call = channel.unary_unary("/t.T/Echo")(b"")
        assert await call == b"own"
        assert await call.code() is grpc.StatusCode.OK
        assert call.done()
        assert await join(channel) == b"own"

    async def streams(channel):
        assert await count(channel) == b"own"
        assert await count_read(channel) == b"o"
        assert await chat(channel) == b"o,wn"

    run(unary, Every(one))
    run(streams, Every(many))
    assert world.a.calls == world.b.calls == []


@every_given_call
def test_one_that_raises_raises_at_the_caller(world, run, call):
    async def step(continuation, details, request):
        raise PermissionError("not you")

    async def go(channel):
        with pytest.raises(PermissionError, match="not you"):
            await call(channel)

    run(go, Every(step))
    assert world.a.calls == world.b.calls == []


def test_one_may_ask_twice(run, world):
    world.a.hook = aborting(grpc.StatusCode.ABORTED, "again")

    async def step(continuation, details, request):
        for _ in range(20):
            call = await continuation(details, request)
            if await call.code() is not grpc.StatusCode.ABORTED:
                return call
        raise AssertionError("node b never answered")

    async def go(channel):
        for _ in range(4):
            assert await echo(channel) == b"1"

    run(go, Every(step))


def test_one_kind_leaves_the_others_alone(run):
    seen = []

    class OnlyUnary(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation, details, request):
            seen.append(details.method)
            return await continuation(details, request)

    async def go(channel):
        for call in CALLS:
            await call(channel)
        assert len(seen) == 1

    run(go, OnlyUnary())


def test_what_is_no_interceptor_is_refused_at_once():
    with pytest.raises(ValueError, match="UnaryUnaryClientInterceptor"):
        meshlb.aio.insecure_channel("mesh://localhost:1/t", interceptors=[object()])


def test_an_intercepted_call_can_be_cancelled_and_dropped(world, run, busy):
    async def step(continuation, details, request):
        return await continuation(details, request)

    def begun(channel):
        yield channel.unary_unary("/t.T/Echo")(b"")
        yield channel.unary_stream("/t.T/Count")(b"1")
        yield channel.stream_unary("/t.T/Join")(given(b"1"))
        yield channel.stream_stream("/t.T/Chat")(given(b"1"))
        yield channel.stream_unary("/t.T/Join")()
        yield channel.stream_stream("/t.T/Chat")()

    async def go(channel):
        world.hold()
        for call in begun(channel):
            assert call.cancel()  # before the chain ran
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert call.cancelled()
        routes = routes_of(channel)
        calls = list(begun(channel))
        await until_aio(lambda: busy(routes) == 6)
        for call in calls[:3]:
            assert call.cancel()
            assert await call.code() is grpc.StatusCode.CANCELLED
        del call
        calls.clear()
        await until_aio(lambda: busy(routes) == 0)
        world.let_go()

    run(go, Every(step))
