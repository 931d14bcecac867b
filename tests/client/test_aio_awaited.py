"""Whoever awaits a unary call notes its end; all others must see it no later than gRPC does."""

import asyncio
import contextlib
import gc

import grpc
import grpc.aio
import pytest

import meshlb
from tests.client.aio_calls import routes_of
from tests.client.channel_options import IDEMPOTENT
from tests.waiting import until_aio


@pytest.fixture
def run(run_pair):
    """Run ``go(channel, routes)`` with two connected nodes; nothing is in flight after it."""
    return lambda go, options=(): run_pair(lambda channel: go(channel, routes_of(channel)), options)


def when_grpc_knows(call, look):
    """Run ``look`` after gRPC's own end of the call, and before whoever awaits it is woken."""
    found = []
    call._course.inner.add_done_callback(lambda _: found.append(look()))
    return found


async def wait_for(call):
    return await call


def counted(routes):
    nodes = routes.nodes.values()
    return sum(n.succeeded for n in nodes), sum(n.failed for n in nodes)


@pytest.mark.parametrize(("look", "sees"), [("done", True), ("cancel", False)])
def test_an_end_is_seen_before_the_one_who_awaits_is_woken(run, look, sees):
    async def go(channel, routes):
        call = channel.unary_unary("/t.T/Echo")(b"1")
        found = when_grpc_knows(call, getattr(call, look))
        assert await call == b"1"
        assert found == [sees]
        assert not call.cancelled()
        assert await call.code() is grpc.StatusCode.OK
        assert counted(routes) == (1, 0)

    run(go)


def test_closing_in_that_moment_lets_the_answer_through(run):
    async def go(channel, routes):
        call = channel.unary_unary("/t.T/Echo")(b"1")
        closing = when_grpc_knows(call, lambda: asyncio.create_task(channel.close()))
        assert await call == b"1"
        await closing[0]

    run(go)


def test_a_call_that_is_held_and_never_awaited_is_counted_out_at_its_end(world, run, busy):
    async def go(channel, routes):
        world.hold()
        call = channel.unary_unary("/t.T/Echo")(b"1")
        assert busy(routes) == 1
        world.let_go()
        await until_aio(lambda: busy(routes) == 0)
        assert call.done()
        assert counted(routes) == (1, 0)
        assert await call == b"1"

    run(go)


def test_several_may_await_one_call(world, run):
    async def go(channel, routes):
        world.hold()
        call = channel.unary_unary("/t.T/Echo")(b"1")
        waiting = [asyncio.create_task(wait_for(call)) for _ in range(3)]
        await until_aio(lambda: len(world.calls) == 1)
        world.let_go()
        assert await asyncio.gather(*waiting) == [b"1"] * 3
        assert counted(routes) == (1, 0)

    run(go)


@pytest.mark.parametrize("ended", [False, True])
def test_one_who_awaits_and_is_dropped_leaves_a_call_that_is_counted_out(world, run, busy, ended):
    async def go(channel, routes):
        world.hold()
        call = channel.unary_unary("/t.T/Echo")(b"1")
        awaiting = call.__await__()
        next(awaiting)
        if ended:
            dropped = when_grpc_knows(call, awaiting.close)
            world.let_go()
            await until_aio(lambda: dropped)
        else:
            awaiting.close()
            world.let_go()
        await until_aio(lambda: busy(routes) == 0)
        assert counted(routes) == (1, 0)
        assert await call == b"1"

    run(go)


def test_one_who_awaits_and_is_dropped_with_the_call_cancels_it(world, run, busy):
    async def go(channel, routes):
        world.hold()
        awaiting = channel.unary_unary("/t.T/Echo")(b"1").__await__()
        next(awaiting)
        assert busy(routes) == 1
        del awaiting
        gc.collect()
        await until_aio(lambda: busy(routes) == 0)
        assert counted(routes) == (0, 0)

    run(go)


@pytest.mark.parametrize("look", [True, False])
def test_a_failure_that_others_see_first_is_repeated_once(world, run, look):
    def refuse(method, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def go(channel, routes):
        world.a.hook = refuse
        moved = False
        while not moved:
            before = len(world.a.calls)
            call = channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
            found = when_grpc_knows(call, call.done) if look else None
            asking = asyncio.create_task(call.initial_metadata())
            assert await call == b"1"
            assert dict(await asking)["node"] == "b"
            moved = len(world.a.calls) > before
            assert found == ([not moved] if look else None)
        assert counted(routes)[1] == 1

    run(go, IDEMPOTENT)


def test_a_loop_that_ends_under_those_who_await_leaves_nothing_in_flight(world, busy):
    node = world.add_node()
    world.controller.push(node)
    channel = meshlb.aio.insecure_channel(world.target())
    echo = channel.unary_unary("/t.T/Echo")

    async def leave():
        await echo(b"", timeout=60)
        node.gate.clear()
        tasks = [asyncio.create_task(wait_for(echo(b""))) for _ in range(3)]
        await until_aio(lambda: len(node.calls) == 4)
        return routes_of(channel), tasks

    routes, tasks = asyncio.run(leave())
    node.gate.set()
    assert busy(routes) == 0
    assert all(task.cancelled() for task in tasks)

    async def end():
        with contextlib.suppress(grpc.aio.AioRpcError):
            await echo(b"", timeout=60)
        await channel.close()

    asyncio.run(end())
