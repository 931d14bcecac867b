"""Nodes that answer before they have read the requests, and what a writer is told of it."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from meshlb.client import aio_stream_course
from tests.client.fakes import aborting


async def five():
    for n in range(5):
        yield b"%d" % n


EARLY = [b"a", b"b", b"c"]


@pytest.fixture
def early(world, run_quietly):
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
def test_nothing_is_lost_of_an_early_answer(world, run_quietly, aborts):
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

    run_quietly(go)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("aborts", [False, True])
def test_a_writer_may_read_an_early_answer_after_it_was_told_to_stop(
    world, run_quietly, aborts, monkeypatch
):
    monkeypatch.setattr("meshlb.client.aio_stream_course.UNMASKED_AFTER_S", (0.0, 0.0, 0.01))
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

    run_quietly(go)


def test_a_writer_is_told_when_the_call_ends(world, run_quietly):
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

    run_quietly(go)


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
    asyncio.run(aio_stream_course._send(call, five()))
    assert not call.cancelled


def test_requests_that_cannot_be_had_are():
    async def broken():
        yield b"1"
        raise RuntimeError("the caller's own")

    call = Ended()
    asyncio.run(aio_stream_course._send(call, broken()))
    assert call.cancelled
