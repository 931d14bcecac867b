"""Calls of every style where calls in flight are limited. For asyncio."""

import asyncio

import grpc
import grpc.aio
import pytest

from meshlb.model import CallLimits, Priority
from tests.client import aio_calls
from tests.client.aio_calls import routes_of
from tests.client.channel_options import IDEMPOTENT
from tests.client.fakes import CLOSED
from tests.waiting import until_aio

CLASSES = (Priority("high", 0.0), Priority("default", 0.0), Priority("low", 0.0))
STYLES = [aio_calls.echo, aio_calls.count, aio_calls.join, aio_calls.chat]
every_style = pytest.mark.parametrize("call", STYLES)


async def limit(pair, channel, in_flight=1, waiting=9, **of):
    limits = CallLimits(in_flight, None, waiting, **of)
    pair.controller.push(pair.a, pair.b, limits=limits)
    routes = routes_of(channel)
    await until_aio(lambda: routes.table.limits == limits)
    return routes


async def hold_one(pair, channel):
    pair.hold()
    first = channel.unary_unary("/t.T/Echo")(b"0", timeout=60)
    await until_aio(lambda: len(pair.calls) == 1)
    return first


@every_style
def test_a_call_waits_for_room(pair, run_in_turn, call):
    async def go(channel):
        routes = await limit(pair, channel)
        first = await hold_one(pair, channel)
        second = asyncio.create_task(call(channel))
        await until_aio(lambda: routes.waiting == 1)
        assert len(pair.calls) == 1
        pair.let_go()
        assert await first == b"0"
        assert await second

    run_in_turn(go)


@every_style
def test_one_that_may_not_wait_is_shed(pair, run_in_turn, call):
    async def go(channel):
        await limit(pair, channel, waiting=0)
        first = await hold_one(pair, channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_in_flight = 1" in caught.value.details()
        assert dict(caught.value.trailing_metadata()) == {"grpc-retry-pushback-ms": "-1"}
        pair.let_go()
        assert await first == b"0"
        assert await call(channel)

    run_in_turn(go, IDEMPOTENT)


@every_style
def test_a_deadline_ends_the_wait(pair, run_in_turn, call):
    async def go(channel):
        await limit(pair, channel)
        first = await hold_one(pair, channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, timeout=0.05)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "waited in vain for room" in caught.value.details()
        pair.let_go()
        assert await first == b"0"

    run_in_turn(go)


@every_style
def test_a_call_that_moves_needs_no_more_room(pair, run_in_turn, call):
    async def go(channel):
        await limit(pair, channel)
        left = [1, 1]
        for node in (pair.a, pair.b):
            node.hook = lambda _, context: context.abort(*CLOSED) if left and left.pop() else None
        assert await call(channel)
        assert await call(channel)

    run_in_turn(go, IDEMPOTENT)


def test_a_call_that_is_cancelled_in_the_line_leaves_it(pair, run_in_turn):
    async def go(channel):
        routes = await limit(pair, channel)
        first = await hold_one(pair, channel)
        second = channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
        await until_aio(lambda: routes.waiting == 1)
        assert second.cancel()
        assert routes.waiting == 0
        third = channel.unary_stream("/t.T/Count")(b"1", timeout=60)
        await until_aio(lambda: routes.waiting == 1)
        del third
        await until_aio(lambda: routes.waiting == 0)
        pair.let_go()
        assert await first == b"0"

    run_in_turn(go)


def test_calls_come_in_by_their_class(pair, run_in_turn):
    async def go(channel):
        routes = await limit(pair, channel, priorities=CLASSES)
        first = await hold_one(pair, channel)
        echo, seen = channel.unary_unary("/t.T/Echo"), []
        calls = [echo(b"1", timeout=60, metadata=(("kind", "low"),))]
        for kind in ("default", "high"):
            named = grpc.aio.Metadata(("meshlb-priority", kind), ("kind", kind))
            calls.append(echo(b"1", timeout=60, metadata=named))
        await until_aio(lambda: routes.waiting == 3)
        for node in (pair.a, pair.b):
            node.hook = lambda _, context: seen.append(dict(context.invocation_metadata())["kind"])
        pair.let_go()
        assert [await one for one in (first, *calls)] == [b"0", b"1", b"1", b"1"]
        assert seen == ["high", "default", "low"]

    run_in_turn(go, [("meshlb.priority", "low")])


def test_when_limits_are_lifted_all_come_in(pair, run_in_turn):
    async def go(channel):
        routes = await limit(pair, channel)
        first = await hold_one(pair, channel)
        calls = [channel.unary_unary("/t.T/Echo")(b"1", timeout=60) for _ in range(2)]
        await until_aio(lambda: routes.waiting == 2)
        pair.controller.push(pair.a, pair.b)
        await until_aio(lambda: len(pair.calls) == 3)
        pair.let_go()
        assert [await one for one in (first, *calls)] == [b"0", b"1", b"1"]

    run_in_turn(go)


def test_calls_that_wait_for_the_first_table_hold_to_its_limits(pair, run_aio):
    controller = pair.add_controller("c2")

    async def go(channel):
        pair.hold()
        calls = [channel.unary_unary("/t.T/Echo")(b"1", timeout=60) for _ in range(3)]
        routes = routes_of(channel)
        await until_aio(lambda: routes.waiting == 3)
        controller.push(pair.a, pair.b, limits=CallLimits(1, None, 9))
        await until_aio(lambda: len(pair.calls) == 1 and routes.waiting == 2)
        pair.let_go()
        assert [await one for one in calls] == [b"1"] * 3

    run_aio(go, target=pair.target(controller))
