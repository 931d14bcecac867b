"""An asyncio channel of ours beside one of gRPC's: every arity, every style, the same answers."""

import asyncio

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import given

EOF = grpc.aio.EOF


def node_of(metadata):
    return dict(metadata)["node"]


def test_unary_unary(run_both):
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

    run_both(go)


def test_unary_stream_iterated(run_both):
    async def go(channel):
        call = channel.unary_stream("/t.T/Count", bytes, bytes)(b"3", timeout=60)
        assert isinstance(call, grpc.aio.UnaryStreamCall)
        await call.wait_for_connection()
        assert [message async for message in call] == [b"0", b"1", b"2"]
        assert await call.code() is grpc.StatusCode.OK
        assert call.done()
        assert node_of(await call.trailing_metadata()) in ("a", "b")
        assert [message async for message in call] == []

    run_both(go)


def test_unary_stream_read(run_both):
    async def go(channel):
        call = channel.unary_stream("/t.T/Count")(b"2")
        assert await call.read() == b"0"
        assert node_of(await call.initial_metadata()) in ("a", "b")
        assert await call.read() == b"1"
        assert await call.read() is EOF
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK

    run_both(go)


@pytest.mark.parametrize("make", [given, lambda *r: iter(r), lambda *r: list(r)])
def test_stream_unary_given(run_both, make):
    async def go(channel):
        join = channel.stream_unary("/t.T/Join", bytes, bytes)
        call = join(make(b"1", b"2"), timeout=60, metadata=(("k", "v"),))
        assert isinstance(call, grpc.aio.StreamUnaryCall)
        assert await call == b"1,2"
        assert await call.code() is grpc.StatusCode.OK
        assert node_of(await call.initial_metadata()) in ("a", "b")
        assert await join(make()) == b""
        assert await join(request_iterator=make(b"3")) == b"3"

    run_both(go)


def test_stream_unary_written(run_both):
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

    run_both(go)


def test_stream_stream_given_and_iterated(run_both):
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

    run_both(go)


def test_stream_stream_written_and_read(run_both):
    async def go(channel):
        call = channel.stream_stream("/t.T/Chat")()
        for n in range(30):
            await call.write(b"%d" % n)
            assert await call.read() == b"%d" % n
        await call.done_writing()
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK

    run_both(go)


def test_many_requests_written_ahead(run_both):
    async def go(channel):
        call = channel.stream_unary("/t.T/Join")()
        for n in range(3000):
            await call.write(b"%d" % n)
        await call.done_writing()
        assert (await call).count(b",") == 2999

    run_both(go)


def test_requests_are_given_or_written_not_both(run_both):
    async def go(channel):
        call = channel.stream_stream("/t.T/Chat")(given(b"1"))
        with pytest.raises(grpc.aio.UsageError):
            await call.write(b"2")
        with pytest.raises(grpc.aio.UsageError):
            await call.done_writing()
        assert [m async for m in call] == [b"1"]

    run_both(go)


def test_metadata_of_every_form_reaches_the_server(pair, run_both):
    async def go(channel):
        echo = channel.unary_unary("/t.T/Echo")
        await echo(b"", metadata=(("k", "tuple"), ("b-bin", b"\0")))
        await echo(b"", metadata=grpc.aio.Metadata(("k", "own")))
        await channel.stream_unary("/t.T/Join")(given(b""), metadata=(("k", "stream"),))

    run_both(go)
    came = [*pair.a.metadata, *pair.b.metadata]
    assert {m["k"] for m in came} == {"tuple", "own", "stream"}
    assert any(m.get("b-bin") == b"\0" for m in came)


@pytest.mark.parametrize("registered", [False, True])
def test_registered_method_by_keyword_and_by_position(run_both, registered):
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

    run_both(go)


def test_states_and_readiness(run_both):
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

    run_both(go)
