"""A channel of ours beside one of grpc.aio's: every arity, both styles, the same answers."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest


@pytest.fixture(params=["mesh", "raw"])
def channel(request, two, aio):
    """The same test over grpc.aio's own channel says that the test is right."""

    @contextlib.asynccontextmanager
    async def opened(**how):
        if request.param == "mesh":
            async with aio.open(**how) as channel:
                yield channel
        else:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{two.a.port}", **how) as raw:
                yield raw

    return opened


def test_unary_unary(channel, aio):
    async def main():
        async with channel() as c:
            echo = c.unary_unary("/t.T/Echo", bytes, bytes)
            assert await echo(b"0") == b"0"
            call = echo(
                b"1",
                timeout=5,
                metadata=(("k", "v"),),
                wait_for_ready=True,
                compression=grpc.Compression.Gzip,
            )
            assert isinstance(call, grpc.aio.UnaryUnaryCall)
            assert 0 < call.time_remaining() <= 5
            assert not call.done()
            told = []
            call.add_done_callback(told.append)
            assert dict(await call.initial_metadata())["node"] in "ab"
            assert await call == b"1"
            assert await call == b"1"
            assert told == [call]
            call.add_done_callback(told.append)
            assert told == [call, call]
            assert call.done()
            assert not call.cancelled()
            assert not call.cancel()
            assert await call.code() is grpc.StatusCode.OK
            assert await call.details() == ""
            assert not await call.debug_error_string()
            assert dict(await call.trailing_metadata())["node"] in "ab"
            call = echo(b"2")
            await call.wait_for_connection()
            assert await call == b"2"
            assert await asyncio.wait_for(echo(b"3"), 5) == b"3"
            assert await asyncio.gather(*(echo(b"%d" % n) for n in range(9))) == [
                b"%d" % n for n in range(9)
            ]

    aio.run(main)


def test_unary_stream_iterated_and_read(channel, aio):
    async def main():
        async with channel() as c:
            count = c.unary_stream("/t.T/Count", bytes, bytes)
            call = count(b"3", timeout=5)
            assert isinstance(call, grpc.aio.UnaryStreamCall)
            assert [m async for m in call] == [b"0", b"1", b"2"]
            assert [m async for m in call] == []
            assert await call.code() is grpc.StatusCode.OK
            assert dict(await call.trailing_metadata())["node"] in "ab"
            call = count(b"2", metadata=(("k", "v"),))
            await call.wait_for_connection()
            assert dict(await call.initial_metadata())["node"] in "ab"
            assert [await call.read() for _ in range(2)] == [b"0", b"1"]
            assert await call.read() is grpc.aio.EOF
            assert await call.read() is grpc.aio.EOF
            iterator = aiter(count(b"2"))
            assert await anext(iterator) == b"0"
            assert [m async for m in iterator] == [b"1"]
            assert [m async for m in count(b"0")] == []

    aio.run(main)


async def numbers(n):
    for number in range(n):
        yield b"%d" % number


def test_stream_unary_by_iterator_and_written(channel, aio):
    async def main():
        async with channel() as c:
            join = c.stream_unary("/t.T/Join", bytes, bytes)
            assert await join(numbers(3), timeout=5) == b"0,1,2"
            assert await join([b"4", b"5"]) == b"4,5"
            assert await join(iter([b"6"])) == b"6"
            assert await join(iter([])) == b""
            call = join(timeout=5, metadata=(("k", "v"),))
            assert isinstance(call, grpc.aio.StreamUnaryCall)
            for number in range(3):
                await call.write(b"%d" % number)
            await call.done_writing()
            await call.done_writing()
            with pytest.raises(asyncio.InvalidStateError):
                await call.write(b"late")
            assert await call == b"0,1,2"
            with pytest.raises(asyncio.InvalidStateError):
                await call.write(b"later")
            assert await call.code() is grpc.StatusCode.OK
            call = join(numbers(2))
            with pytest.raises(grpc.aio.UsageError):
                await call.write(b"")
            with pytest.raises(grpc.aio.UsageError):
                await call.done_writing()
            assert await call == b"0,1"

    aio.run(main)


def test_stream_stream_in_all_styles(channel, aio):
    async def main():
        async with channel() as c:
            chat = c.stream_stream("/t.T/Chat", bytes, bytes)
            assert [m async for m in chat(numbers(3), timeout=5)] == [b"0", b"1", b"2"]
            call = chat()
            assert isinstance(call, grpc.aio.StreamStreamCall)
            for number in range(3):
                await call.write(b"%d" % number)
                assert await call.read() == b"%d" % number
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
            call = chat([b"7"])
            assert await call.read() == b"7"
            assert await call.read() is grpc.aio.EOF
            call = chat()
            await call.write(b"8")
            await call.done_writing()
            assert [m async for m in call] == [b"8"]

    aio.run(main)


@pytest.mark.parametrize("registered", [False, True])
def test_registered_method_by_keyword_and_by_position(channel, aio, registered):
    async def main():
        async with channel() as c:
            for arity, name, ask in (
                ("unary_unary", "Echo", b"1"),
                ("unary_stream", "Count", b"1"),
                ("stream_unary", "Join", [b"1"]),
                ("stream_stream", "Chat", [b"1"]),
            ):
                make = getattr(c, arity)
                make(f"/t.T/{name}", bytes, bytes, registered)
                call = make(f"/t.T/{name}", bytes, bytes, _registered_method=registered)(ask)
                answer = await call if arity.endswith("unary") else [m async for m in call]
                assert answer

    aio.run(main)


def each_style(c, timeout=5):
    """Yield a name and a coroutine function a style, each raising what its call ended with."""

    async def unary(call):
        return call, await call

    async def iterated(call):
        return call, [m async for m in call]

    async def read(call):
        while await call.read() is not grpc.aio.EOF:
            pass

    async def written_unary(call):
        await call.write(b"1")
        await call.done_writing()
        await call

    async def written(call):
        await call.write(b"1")
        await call.done_writing()
        await read(call)

    echo, count = c.unary_unary("/t.T/Echo"), c.unary_stream("/t.T/Count")
    join, chat = c.stream_unary("/t.T/Join"), c.stream_stream("/t.T/Chat")
    yield unary, lambda: echo(b"1", timeout=timeout)
    yield iterated, lambda: count(b"1", timeout=timeout)
    yield read, lambda: count(b"1", timeout=timeout)
    yield unary, lambda: join([b"1"], timeout=timeout)
    yield written_unary, lambda: join(timeout=timeout)
    yield iterated, lambda: chat([b"1"], timeout=timeout)
    yield read, lambda: chat([b"1"], timeout=timeout)
    yield written, lambda: chat(timeout=timeout)


def test_a_nodes_error_comes_through_as_it_is(channel, two, aio):
    def fail(method, context):
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    async def main():
        async with channel() as c:
            two.a.hook = two.b.hook = fail
            for use, begin in each_style(c):
                call = begin()
                with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)) as caught:
                    await use(call)
                if isinstance(caught.value, grpc.aio.AioRpcError):
                    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
                    assert caught.value.details() == "no such thing"
                    assert ("why", "because") in tuple(caught.value.trailing_metadata())
                    assert "no such thing" in caught.value.debug_error_string()
                assert await call.code() is grpc.StatusCode.NOT_FOUND
                assert await call.details() == "no such thing"
                assert ("why", "because") in tuple(await call.trailing_metadata())
                assert not call.cancelled()

    aio.run(main)


def test_a_deadline_ends_the_call(channel, two, aio):
    async def main():
        async with channel() as c:
            two.a.gate.clear()
            two.b.gate.clear()
            for use, begin in each_style(c, timeout=0.1):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await use(begin())
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            two.a.gate.set()
            two.b.gate.set()

    aio.run(main)


def test_cancel_ends_the_call(channel, two, aio):
    async def main():
        async with channel() as c:
            two.a.gate.clear()
            two.b.gate.clear()
            for use, begin in each_style(c):
                call = begin()
                await asyncio.sleep(0.01)
                told = []
                call.add_done_callback(told.append)
                assert call.cancel()
                assert not call.cancel()
                assert call.cancelled()
                assert call.done()
                assert told == [call]
                with pytest.raises((asyncio.CancelledError, asyncio.InvalidStateError)):
                    await use(call)
                assert await call.code() is grpc.StatusCode.CANCELLED
                assert await call.details() == "Locally cancelled by application!"
            two.a.gate.set()
            two.b.gate.set()

    aio.run(main)


def test_cancelling_whoever_awaits_cancels_the_call(channel, two, aio):
    async def main():
        async with channel() as c:
            two.a.gate.clear()
            two.b.gate.clear()
            for use, begin in each_style(c):
                call = begin()
                waiter = asyncio.create_task(use(call))
                await asyncio.sleep(0.02)
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
                assert await call.code() is grpc.StatusCode.CANCELLED
                assert call.cancelled()
            two.a.gate.set()
            two.b.gate.set()

    aio.run(main)


def test_a_servers_cancelled_is_an_error_and_not_the_callers_own(channel, two, aio):
    async def main():
        async with channel() as c:
            two.a.hook = two.b.hook = lambda m, x: x.abort(grpc.StatusCode.CANCELLED, "by me")
            call = c.unary_unary("/t.T/Echo")(b"")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.CANCELLED
            assert caught.value.details() == "by me"
            assert call.cancelled()

    aio.run(main)


def test_requests_that_raise_cancel_the_call(channel, aio):
    async def broken():
        yield b"1"
        raise ZeroDivisionError

    async def main():
        async with channel() as c:
            call = c.stream_unary("/t.T/Join")(broken())
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await call.code() is grpc.StatusCode.CANCELLED
            call = c.stream_stream("/t.T/Chat")(broken())
            with pytest.raises(asyncio.CancelledError):
                assert [m async for m in call] == []

    aio.run(main)


def test_metadata_that_is_none_raises_and_the_call_is_counted_out(channel, aio):
    async def main():
        async with channel() as c:
            call = c.unary_unary("/t.T/Echo")(b"", metadata=(("Not A Key", "v"),))
            with pytest.raises(Exception, match="execute_batch"):
                await call
            assert await c.unary_unary("/t.T/Echo")(b"1") == b"1"
            with pytest.raises(TypeError):
                c.unary_unary("/t.T/Echo")(b"", metadata=5)

    aio.run(main)


def test_requests_are_taken_one_by_one_and_in_one_task(channel, two, aio):
    asked, tasks = [], set()

    async def requests():
        for n in range(5):
            tasks.add(asyncio.current_task())
            asked.append(n)
            yield b"%d" % n
            await asyncio.sleep(0)

    async def main():
        async with channel() as c:
            chat = c.stream_stream("/t.T/Chat")
            got = [m async for m in chat(requests())]
            assert got == [b"%d" % n for n in range(5)]
            assert asked == list(range(5))
            assert len(tasks) == 1

    aio.run(main)


def test_an_endless_stream_of_requests_ends_with_its_call(channel, two, aio):
    ended = []

    async def endless():
        try:
            while True:
                yield b"x"
        finally:
            ended.append(True)

    def forever():
        while True:
            yield b"x"

    async def main():
        async with channel() as c:
            chat = c.stream_stream("/t.T/Chat")
            for requests in (endless(), forever()):
                call = chat(requests)
                for _ in range(3):
                    assert await call.read() == b"x"
                call.cancel()
            two.a.after_message = two.b.after_message = lambda n, context: context.abort(
                grpc.StatusCode.ABORTED, "enough"
            )
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in chat(endless()):
                    pass

    aio.run(main)
    assert ended


def test_a_slow_reader_gets_all_messages(channel, aio):
    async def main():
        async with channel() as c:
            call = c.unary_stream("/t.T/Count")(b"40")
            got = []
            while (message := await call.read()) is not grpc.aio.EOF:
                got.append(message)
                await asyncio.sleep(0.002)
            assert got == [b"%d" % n for n in range(40)]

    aio.run(main)


def test_a_closed_channel_refuses_calls(channel, aio):
    async def main():
        async with channel() as c:
            echo = c.unary_unary("/t.T/Echo")
            await echo(b"1")
        with pytest.raises(grpc.aio.UsageError):
            echo(b"1")
        with pytest.raises(grpc.aio.UsageError):
            c.stream_stream("/t.T/Chat")(iter([]))
        assert c.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        await c.close()

    aio.run(main)
