"""An asyncio channel of ours beside one of gRPC's: every arity, every style, the same answers."""

import asyncio
import contextlib
import time

import grpc
import grpc.aio
import pytest

import meshlb.client.aio_channel

EOF = grpc.aio.EOF
HOLD = 100


def routes_of(channel):
    return channel._here.group.routes


async def until(true, what="", limit_s=60.0):
    give_up = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < give_up, f"waited in vain: {what or true}"
        await asyncio.sleep(0.005)


@pytest.fixture
def pair(world):
    """Two nodes in the table."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)
    yield world
    world.a.gate.set()
    world.b.gate.set()


@pytest.fixture(params=["mesh", "raw"])
def run(request, pair, busy):
    """Run ``go(channel)``; the same test over gRPC's own channel says that the test is right."""

    def run_it(go):
        async def main():
            if request.param == "raw":
                async with grpc.aio.insecure_channel(f"127.0.0.1:{pair.a.port}") as channel:
                    await asyncio.wait_for(go(channel), HOLD)
                return
            async with meshlb.aio.insecure_channel(pair.target()) as channel:
                await asyncio.wait_for(go(channel), HOLD)
                pair.a.gate.set()
                pair.b.gate.set()
                routes = None if channel._here is None else routes_of(channel)
                if routes is not None and not routes.closed:
                    await until(lambda: busy(routes) == 0, "no call in flight at the end")

        asyncio.run(main())

    return run_it


def hold(pair):
    pair.a.gate.clear()
    pair.b.gate.clear()


def node_of(metadata):
    return dict(metadata)["node"]


async def given(*requests):
    for request in requests:
        yield request


def test_unary_unary(run):
    async def go(channel):
        echo = channel.unary_unary("/t.T/Echo", bytes, bytes)
        assert await echo(b"1", timeout=60, metadata=(("k", "v"),), wait_for_ready=True) == b"1"
        call = echo(b"2", timeout=60, compression=grpc.Compression.Gzip)
        assert isinstance(call, grpc.aio.UnaryUnaryCall)
        assert not call.done()
        assert 0 < call.time_remaining() <= 60
        assert node_of(await call.initial_metadata()) in ("a", "b")
        assert await call == b"2"
        assert await call == b"2"
        assert call.done()
        assert not call.cancelled()
        assert not call.cancel()
        assert await call.code() is grpc.StatusCode.OK
        assert await call.details() == ""
        assert node_of(await call.trailing_metadata()) in ("a", "b")
        assert echo(b"").time_remaining() is None

    run(go)


def test_unary_stream_iterated(run):
    async def go(channel):
        call = channel.unary_stream("/t.T/Count", bytes, bytes)(b"3", timeout=60)
        assert isinstance(call, grpc.aio.UnaryStreamCall)
        await call.wait_for_connection()
        assert [message async for message in call] == [b"0", b"1", b"2"]
        assert await call.code() is grpc.StatusCode.OK
        assert call.done()
        assert node_of(await call.trailing_metadata()) in ("a", "b")
        assert [message async for message in call] == []

    run(go)


def test_unary_stream_read(run):
    async def go(channel):
        call = channel.unary_stream("/t.T/Count")(b"2")
        assert await call.read() == b"0"
        assert node_of(await call.initial_metadata()) in ("a", "b")
        assert await call.read() == b"1"
        assert await call.read() is EOF
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK

    run(go)


@pytest.mark.parametrize("make", [given, lambda *r: iter(r), lambda *r: list(r)])
def test_stream_unary_given(run, make):
    async def go(channel):
        join = channel.stream_unary("/t.T/Join", bytes, bytes)
        call = join(make(b"1", b"2"), timeout=60, metadata=(("k", "v"),))
        assert isinstance(call, grpc.aio.StreamUnaryCall)
        assert await call == b"1,2"
        assert await call.code() is grpc.StatusCode.OK
        assert node_of(await call.initial_metadata()) in ("a", "b")
        assert await join(make()) == b""
        assert await join(request_iterator=make(b"3")) == b"3"

    run(go)


def test_stream_unary_written(run):
    async def go(channel):
        call = channel.stream_unary("/t.T/Join")(timeout=60)
        await call.wait_for_connection()
        await call.write(b"1")
        await call.write(b"2")
        await call.done_writing()
        await call.done_writing()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"3")
        assert await call == b"1,2"
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"4")

    run(go)


def test_stream_stream_given_and_iterated(run):
    async def go(channel):
        said = asyncio.Semaphore(0)

        async def say():
            for n in range(3):
                await said.acquire()
                yield b"%d" % n

        call = channel.stream_stream("/t.T/Chat", bytes, bytes)(say(), timeout=60)
        assert isinstance(call, grpc.aio.StreamStreamCall)
        got = aiter(call)
        for n in range(3):
            said.release()
            assert await anext(got) == b"%d" % n
        with pytest.raises(StopAsyncIteration):
            await anext(got)
        assert await call.code() is grpc.StatusCode.OK

    run(go)


def test_stream_stream_written_and_read(run):
    async def go(channel):
        call = channel.stream_stream("/t.T/Chat")()
        for n in range(30):
            await call.write(b"%d" % n)
            assert await call.read() == b"%d" % n
        await call.done_writing()
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK

    run(go)


def test_many_requests_written_ahead(run):
    async def go(channel):
        call = channel.stream_unary("/t.T/Join")()
        for n in range(3000):
            await call.write(b"%d" % n)
        await call.done_writing()
        assert (await call).count(b",") == 2999

    run(go)


def test_requests_are_given_or_written_not_both(run):
    async def go(channel):
        call = channel.stream_stream("/t.T/Chat")(given(b"1"))
        with pytest.raises(grpc.aio.UsageError):
            await call.write(b"2")
        with pytest.raises(grpc.aio.UsageError):
            await call.done_writing()
        assert [m async for m in call] == [b"1"]

    run(go)


async def awaited(call):
    return await call


async def iterated(call):
    return [message async for message in call]


async def read(call):
    return await call.read()


def arities(channel, **how):
    """Begin a call of each arity and style; yield it, and a function that waits for its end."""
    yield channel.unary_unary("/t.T/Echo")(b"1", **how), awaited
    yield channel.unary_stream("/t.T/Count")(b"1", **how), iterated
    yield channel.unary_stream("/t.T/Count")(b"1", **how), read
    yield channel.stream_unary("/t.T/Join")(given(b"1"), **how), awaited
    yield channel.stream_stream("/t.T/Chat")(given(b"1"), **how), iterated
    yield channel.stream_stream("/t.T/Chat")(**how), read


def is_ours(channel):
    return isinstance(channel, meshlb.client.aio_channel.AioMeshChannel)


def may_be_masked(channel, call):
    """Return whether gRPC's own may put INTERNAL over a status that meets a write of requests."""
    writes = isinstance(call, (grpc.aio.StreamUnaryCall, grpc.aio.StreamStreamCall))
    return writes and not is_ours(channel)


def test_a_nodes_error_comes_through_as_it_is(pair, run):
    def fail(method, context):
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    pair.a.hook = pair.b.hook = fail

    async def go(channel):
        for call, wait in arities(channel, timeout=60):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await wait(call)
            if may_be_masked(channel, call):
                continue
            error = caught.value
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert error.details() == "no such thing"
            assert ("why", "because") in tuple(error.trailing_metadata())
            assert "no such thing" in error.debug_error_string()
            assert await call.code() is grpc.StatusCode.NOT_FOUND
            assert await call.details() == "no such thing"
            assert ("why", "because") in tuple(await call.trailing_metadata())
            assert call.done()
            assert not call.cancelled()

    run(go)
    assert len(pair.a.calls) + len(pair.b.calls) == 6


def test_a_deadline_ends_the_call(pair, run):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        for call, wait in arities(channel, timeout=0.1):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await wait(call)
            if may_be_masked(channel, call):
                continue
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(go)


def test_cancel_ends_the_call(pair, run):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        for call, wait in arities(channel):
            told = []
            call.add_done_callback(told.append)
            assert not call.done()
            assert call.cancel()
            assert not call.cancel()
            assert call.cancelled()
            assert call.done()
            if may_be_masked(channel, call):
                continue
            with pytest.raises(asyncio.CancelledError):
                await wait(call)
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert "ancelled" in await call.details()
            await until(lambda told=told, call=call: told == [call])

    run(go)


def test_cancelling_the_task_cancels_the_call(pair, run):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        for call, wait in arities(channel):
            before = len(pair.a.calls) + len(pair.b.calls)
            task = asyncio.create_task(wait(call))
            await until(lambda before=before: len(pair.a.calls) + len(pair.b.calls) > before)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not is_ours(channel):
                continue  # gRPC's own is not cancelled if its request has just been sent
            assert call.cancelled()
            assert await call.code() is grpc.StatusCode.CANCELLED

    run(go)


def test_wait_for_with_a_timeout_cancels_the_call(pair, run):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        call = channel.unary_unary("/t.T/Echo")(b"")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.05)
        assert call.cancelled() or not is_ours(channel)  # as above
        call = channel.unary_stream("/t.T/Count")(b"1")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call.read(), 0.05)
        assert call.cancelled() or not is_ours(channel)

    run(go)


def test_done_callbacks_are_told_once(run):
    async def go(channel):
        told = []
        for call, wait in arities(channel):
            call.add_done_callback(told.append)
            if isinstance(call, grpc.aio.StreamStreamCall):
                call.cancel()
            else:
                await wait(call)
                await call.code()
            await until(lambda call=call: call in told)
            call.add_done_callback(told.append)
            await until(lambda call=call: told.count(call) == 2)
        assert len(told) == 12

    run(go)


def test_metadata_of_every_form_reaches_the_server(pair, run):
    async def go(channel):
        echo = channel.unary_unary("/t.T/Echo")
        await echo(b"", metadata=(("k", "tuple"), ("b-bin", b"\0")))
        await echo(b"", metadata=grpc.aio.Metadata(("k", "own")))
        await channel.stream_unary("/t.T/Join")(given(b""), metadata=(("k", "stream"),))

    run(go)
    came = [*pair.a.metadata, *pair.b.metadata]
    assert {m["k"] for m in came} == {"tuple", "own", "stream"}
    assert any(m.get("b-bin") == b"\0" for m in came)


def test_a_message_that_cannot_be_turned_into_bytes_or_back_ends_the_call(run):
    def broken(message):
        raise TypeError(message)

    async def go(channel):
        for broken_ends in ((broken, None), (None, broken)):
            with contextlib.suppress(grpc.aio.AioRpcError, TypeError):
                await channel.unary_unary("/t.T/Echo", *broken_ends)(b"1", timeout=60)
            with contextlib.suppress(grpc.aio.AioRpcError, TypeError, asyncio.CancelledError):
                await channel.unary_stream("/t.T/Count", *broken_ends)(b"1", timeout=60).read()

    run(go)


def test_requests_that_raise_end_the_call(run):
    async def broken():
        yield b"1"
        raise RuntimeError("the caller's own")

    async def go(channel):
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await channel.stream_unary("/t.T/Join")(broken(), timeout=60)
        call = channel.stream_stream("/t.T/Chat")(broken(), timeout=60)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            [m async for m in call]
        await until(call.done)

    run(go)


def test_wrong_metadata_raises_and_leaves_nothing_behind(run):
    async def go(channel):
        with pytest.raises((ValueError, TypeError, grpc.aio.AioRpcError)):
            await channel.unary_unary("/t.T/Echo")(b"", metadata=5)
        assert await channel.unary_unary("/t.T/Echo")(b"1") == b"1"
        with pytest.raises((ValueError, TypeError)):
            await channel.unary_unary("/t.T/Echo")(b"", metadata=5)
        assert not is_ours(channel) or not channel._here.calls

    run(go)


@pytest.mark.parametrize("registered", [False, True])
def test_registered_method_by_keyword_and_by_position(run, registered):
    async def go(channel):
        for arity, name in (
            ("unary_unary", "Echo"),
            ("unary_stream", "Count"),
            ("stream_unary", "Join"),
            ("stream_stream", "Chat"),
        ):
            make = getattr(channel, arity)
            make(f"/t.T/{name}", bytes, bytes, registered)
            make(f"/t.T/{name}", bytes, bytes, _registered_method=registered)

    run(go)


def test_states_and_readiness(run):
    async def go(channel):
        idle = grpc.ChannelConnectivity.IDLE
        assert channel.get_state() is idle
        waiting = asyncio.create_task(channel.wait_for_state_change(idle))
        await channel.channel_ready()
        await waiting
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()
        await channel.close()
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    run(go)


def test_after_close_every_use_is_a_usage_error(run):
    async def go(channel):
        used = [channel.unary_unary("/t.T/Echo"), channel.unary_stream("/t.T/Count")]
        fresh = [channel.stream_unary("/t.T/Join"), channel.stream_stream("/t.T/Chat")]
        assert await used[0](b"1") == b"1"
        assert await used[1](b"1").read() == b"0"
        await channel.close()
        for multi in (*used, *fresh):
            with pytest.raises(grpc.aio.UsageError, match="closed"):
                multi(b"")

    run(go)


@pytest.mark.parametrize("grace", [None, 0.05])
def test_close_cancels_calls_that_run(pair, run, grace):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        begun = list(arities(channel))
        await until(lambda: len(pair.a.calls) + len(pair.b.calls) == 7)
        await channel.close(grace)
        for call, wait in begun:
            with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
                await wait(call)
            if may_be_masked(channel, call):
                continue
            assert await call.code() is grpc.StatusCode.CANCELLED

    run(go)


def test_close_with_grace_lets_calls_end(pair, run):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        hold(pair)
        call = channel.unary_unary("/t.T/Echo")(b"1")
        await until(lambda: len(pair.a.calls) + len(pair.b.calls) == 2)
        closing = asyncio.create_task(channel.close(60))
        await asyncio.sleep(0.05)
        pair.a.gate.set()
        pair.b.gate.set()
        assert await call == b"1"
        await closing

    run(go)
