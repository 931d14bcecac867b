"""asyncio streams that break midway: resumed by the caller's hook, or ended."""

import threading

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import given
from tests.client.channel_options import IDEMPOTENT
from tests.client.fakes import break_twice, cut_after


def test_a_stream_resumes_where_it_broke(pair, run_in_turn):
    asked, told = [], threading.Event()

    def rest(request, received):
        asked.append((request, list(received)))
        return b"%d" % (int(request) - len(received))

    async def go(channel):
        pair.a.after_message = cut_after(1, once=told)
        while not asked:
            told.clear()
            call = channel.unary_stream("/t.T/Count")(b"4", timeout=60)
            got = [await call.read(), await call.read()]
            told.set()
            got += [m async for m in call]
            assert await call.code() is grpc.StatusCode.OK
            assert got == [b"0", b"1", *([b"0", b"1"] if asked else [b"2", b"3"])]
        assert asked == [(b"4", [b"0", b"1"])]

    run_in_turn(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])


@pytest.mark.parametrize("reads", [False, True])
def test_a_stream_that_broke_after_its_last_message_is_whole(pair, run_in_turn, reads):
    async def go(channel):
        pair.a.after_message = pair.b.after_message = cut_after(1)
        call = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
        if reads:
            got = [await call.read(), await call.read()]
            assert await call.read() is grpc.aio.EOF
        else:
            got = [m async for m in call]
        assert got == [b"0", b"1"]
        assert await call.code() is grpc.StatusCode.OK
        assert await call.details() == ""

    run_in_turn(
        go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: None})]
    )


def test_without_a_hook_messages_that_reached_the_caller_forbid_the_retry(pair, run_in_turn):
    async def go(channel):
        pair.a.after_message = pair.b.after_message = cut_after(1)
        call = channel.unary_stream("/t.T/Count")(b"5", timeout=60)
        assert [await call.read(), await call.read()] == [b"0", b"1"]
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert len(pair.calls) == 1

    run_in_turn(go, IDEMPOTENT)


def test_a_resume_hook_that_raises_ends_the_call_with_the_nodes_error(pair, run_in_turn):
    async def go(channel):
        pair.a.after_message = pair.b.after_message = cut_after(0)
        call = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
        assert await call.read() == b"0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.details() == "Socket closed"

    run_in_turn(
        go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})]
    )


def test_the_hook_is_not_asked_again_before_another_message_has_come(pair, run_in_turn):
    asked, told = [], threading.Event()

    def rest(request, received):
        asked.append(list(received))
        return b"%d" % (int(request) - len(received))

    async def go(channel):
        break_twice((pair.a, pair.b), told)
        call = channel.unary_stream("/t.T/Count")(b"4", timeout=60)
        got = [await call.read(), await call.read()]
        told.set()
        assert [*got, *[m async for m in call]] == [b"0", b"1", b"0", b"1"]
        assert asked == [[b"0", b"1"]]
        assert len(pair.calls) == 3

    run_in_turn(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])


def test_a_stream_of_requests_is_not_resumed(pair, run_in_turn):
    asked = []

    def rest(request, received):
        asked.append(received)

    async def go(channel):
        pair.a.after_message = pair.b.after_message = cut_after(1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in channel.stream_stream("/t.T/Chat")(given(b"1", b"2", b"3"), timeout=60):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert asked == []
        assert len(pair.calls) == 1

    run_in_turn(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Chat": rest})])
