"""asyncio calls before there is a table, a controller or a node."""

import asyncio
import socket

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import echo, error_of, every_call, every_given_call, routes_of
from tests.waiting import until_aio


@every_call
@pytest.mark.parametrize("wait_for_ready", [None, True])
def test_without_a_table_yet_a_call_waits_for_it(world, run_aio, call, wait_for_ready):
    async def go(channel):
        task = asyncio.create_task(call(channel, wait_for_ready=wait_for_ready))
        await until_aio(lambda: channel._here is not None and routes_of(channel).waiting == 1)
        reports = world.controller.reports
        await until_aio(lambda: reports and reports[-1].waiting == 1)
        world.controller.push(world.add_node())
        assert (await task).startswith((b"1", b"0"))
        assert routes_of(channel).waiting == 0

    run_aio(go)


@every_call
def test_a_deadline_that_passes_without_a_table_says_so(world, run_aio, call):
    async def go(channel):
        error = await error_of(call, channel, timeout=0.1)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no routing table for service 'test'" in error.details()

    run_aio(go)


@every_given_call
def test_a_service_scaled_to_zero_makes_calls_wait(world, run_aio, call):
    world.controller.push()

    async def go(channel):
        channel.get_state(try_to_connect=True)
        await until_aio(lambda: routes_of(channel).table is not None)
        error = await error_of(call, channel, timeout=0.2)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "has no node" in error.details()
        task = asyncio.create_task(call(channel))
        await until_aio(lambda: routes_of(channel).waiting == 1)
        world.controller.push(world.add_node())
        assert await task

    run_aio(go)


@every_call
def test_all_controllers_refusing_is_unavailable_and_says_what_to_check(run_aio, call):
    with socket.socket() as one, socket.socket() as two:
        for taken in (one, two):
            taken.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in (one, two)]

        async def go(channel):
            error = await error_of(call, channel)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            for part in (*addresses, "refused", "meshlb controller"):
                assert part in error.details()
            error = await error_of(call, channel, timeout=0.2, wait_for_ready=True)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        run_aio(go, target=f"mesh://{','.join(addresses)}/test")


def test_waiting_calls_can_be_cancelled_dropped_and_closed(world, run_aio):
    async def go(channel):
        def waiting():
            return routes_of(channel).waiting

        call = channel.unary_unary("/t.T/Echo")(b"")
        await until_aio(lambda: waiting() == 1)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await call.code() is grpc.StatusCode.CANCELLED
        dropped = channel.unary_stream("/t.T/Count")(b"1")
        await until_aio(lambda: waiting() == 1)
        del dropped
        await until_aio(lambda: waiting() == 0)
        calls = [channel.unary_unary("/t.T/Echo")(b""), channel.stream_stream("/t.T/Chat")()]
        await until_aio(lambda: waiting() == 2)
        await channel.close()
        await until_aio(lambda: waiting() == 0)
        for call in calls:
            assert await call.code() is grpc.StatusCode.CANCELLED

    run_aio(go)


def test_many_calls_wait_at_once(world, run_aio):
    async def go(channel):
        calls = [echo(channel) for _ in range(300)]
        answers = asyncio.gather(*calls)
        await until_aio(lambda: channel._here is not None and routes_of(channel).waiting == 300)
        world.controller.push(world.add_node())
        assert await answers == [b"1"] * 300

    run_aio(go)
