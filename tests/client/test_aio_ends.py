"""How asyncio calls end: by errors, deadlines, cancel and close, beside a channel of gRPC's own."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

import meshlb.client.aio_channel
from tests.client.aio_calls import given
from tests.waiting import until_aio


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


def test_a_nodes_error_comes_through_as_it_is(pair, run_both):
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

    run_both(go)
    assert len(pair.calls) == 6


def test_a_deadline_ends_the_call(pair, run_both):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
        for call, wait in arities(channel, timeout=0.1):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await wait(call)
            if may_be_masked(channel, call):
                continue
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run_both(go)


def test_cancel_ends_the_call(pair, run_both):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
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
            await until_aio(lambda told=told, call=call: told == [call])

    run_both(go)


def test_cancelling_the_task_cancels_the_call(pair, run_both):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
        for call, wait in arities(channel):
            before = len(pair.calls)
            task = asyncio.create_task(wait(call))
            await until_aio(lambda before=before: len(pair.calls) > before)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not is_ours(channel):
                continue  # gRPC's own is not cancelled if its request has just been sent
            assert call.cancelled()
            assert await call.code() is grpc.StatusCode.CANCELLED

    run_both(go)


def test_wait_for_with_a_timeout_cancels_the_call(pair, run_both):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
        call = channel.unary_unary("/t.T/Echo")(b"")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.05)
        assert call.cancelled() or not is_ours(channel)  # as above
        call = channel.unary_stream("/t.T/Count")(b"1")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call.read(), 0.05)
        assert call.cancelled() or not is_ours(channel)

    run_both(go)


def test_done_callbacks_are_told_once(run_both):
    async def go(channel):
        told = []
        for call, wait in arities(channel):
            call.add_done_callback(told.append)
            if isinstance(call, grpc.aio.StreamStreamCall):
                call.cancel()
            else:
                await wait(call)
                await call.code()
            await until_aio(lambda call=call: call in told)
            call.add_done_callback(told.append)
            await until_aio(lambda call=call: told.count(call) == 2)
        assert len(told) == 12

    run_both(go)


def test_a_message_that_cannot_be_turned_into_bytes_or_back_ends_the_call(run_both):
    def broken(message):
        raise TypeError(message)

    async def go(channel):
        for broken_ends in ((broken, None), (None, broken)):
            with contextlib.suppress(grpc.aio.AioRpcError, TypeError):
                await channel.unary_unary("/t.T/Echo", *broken_ends)(b"1", timeout=60)
            with contextlib.suppress(grpc.aio.AioRpcError, TypeError, asyncio.CancelledError):
                await channel.unary_stream("/t.T/Count", *broken_ends)(b"1", timeout=60).read()

    run_both(go)


def test_requests_that_raise_end_the_call(run_both):
    async def broken():
        yield b"1"
        raise RuntimeError("the caller's own")

    async def go(channel):
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await channel.stream_unary("/t.T/Join")(broken(), timeout=60)
        call = channel.stream_stream("/t.T/Chat")(broken(), timeout=60)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            [m async for m in call]
        await until_aio(call.done)

    run_both(go)


def test_wrong_metadata_raises_and_leaves_nothing_behind(run_both):
    async def go(channel):
        with pytest.raises((ValueError, TypeError, grpc.aio.AioRpcError)):
            await channel.unary_unary("/t.T/Echo")(b"", metadata=5)
        assert await channel.unary_unary("/t.T/Echo")(b"1") == b"1"
        with pytest.raises((ValueError, TypeError)):
            await channel.unary_unary("/t.T/Echo")(b"", metadata=5)
        assert not is_ours(channel) or not channel._here.calls

    run_both(go)


def test_after_close_every_use_is_a_usage_error(run_both):
    async def go(channel):
        used = [channel.unary_unary("/t.T/Echo"), channel.unary_stream("/t.T/Count")]
        fresh = [channel.stream_unary("/t.T/Join"), channel.stream_stream("/t.T/Chat")]
        assert await used[0](b"1") == b"1"
        assert await used[1](b"1").read() == b"0"
        await channel.close()
        for multi in (*used, *fresh):
            with pytest.raises(grpc.aio.UsageError, match="closed"):
                multi(b"")

    run_both(go)


@pytest.mark.parametrize("grace", [None, 0.05])
def test_close_cancels_calls_that_run(pair, run_both, grace):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
        begun = list(arities(channel))
        await until_aio(lambda: len(pair.calls) == 7)
        await channel.close(grace)
        for call, wait in begun:
            with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
                await wait(call)
            if may_be_masked(channel, call):
                continue
            assert await call.code() is grpc.StatusCode.CANCELLED

    run_both(go)


def test_close_with_grace_lets_calls_end(pair, run_both):
    async def go(channel):
        await channel.unary_unary("/t.T/Echo")(b"")
        pair.hold()
        call = channel.unary_unary("/t.T/Echo")(b"1")
        await until_aio(lambda: len(pair.calls) == 2)
        closing = asyncio.create_task(channel.close(60))
        await asyncio.sleep(0.05)
        pair.let_go()
        assert await call == b"1"
        await closing

    run_both(go)
