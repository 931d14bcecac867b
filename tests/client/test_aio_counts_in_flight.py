"""Every asyncio attempt that begins ends, exactly once, whatever becomes of its call."""

import asyncio
import contextlib
import gc
import random

import grpc
import grpc.aio
import pytest

import meshlb
from tests.client.aio_calls import given, routes_of
from tests.waiting import until_aio


@pytest.fixture
def run(run_pair, busy):
    """Run ``go(channel, in_flight)`` with two connected nodes; nothing is in flight after it."""
    return lambda go: run_pair(lambda channel: go(channel, lambda: busy(routes_of(channel))))


def test_a_call_is_in_flight_until_its_last_message_is_read(run):
    async def go(channel, in_flight):
        call = channel.unary_stream("/t.T/Count")(b"3", timeout=60)
        assert await call.read() == b"0"
        assert in_flight() == 1
        assert [await call.read(), await call.read()] == [b"1", b"2"]
        assert await call.read() is grpc.aio.EOF
        assert in_flight() == 0

    run(go)


def test_dropped_calls_of_every_arity_are_cancelled_and_counted_out(world, run):
    async def go(channel, in_flight):
        world.hold()
        calls = [
            channel.unary_unary("/t.T/Echo")(b""),
            channel.unary_stream("/t.T/Count")(b"1"),
            channel.stream_unary("/t.T/Join")(given(b"1")),
            channel.stream_stream("/t.T/Chat")(given(b"1")),
            channel.stream_unary("/t.T/Join")(),
            channel.stream_stream("/t.T/Chat")(),
        ]
        await until_aio(lambda: len(world.calls) == 6)
        assert in_flight() == 6
        calls.clear()
        await until_aio(lambda: in_flight() == 0)

    run(go)


def test_a_dropped_call_in_a_cycle_is_counted_out_when_it_is_collected(world, run):
    async def go(channel, in_flight):
        world.hold()
        ring = [channel.unary_stream("/t.T/Count")(b"1")]
        ring.append(ring)
        await until_aio(lambda: in_flight() == 1)
        del ring
        with routes_of(channel).lock:  # a collection may come in the midst of counting
            gc.collect()
        await until_aio(lambda: in_flight() == 0)

    run(go)


def test_an_iterator_left_midway_is_counted_out(run):
    async def go(channel, in_flight):
        async def read_one():
            messages = []
            async for message in channel.unary_stream("/t.T/Count")(b"100000"):
                messages.append(message)
                break
            return messages

        assert await read_one() == [b"0"]
        await until_aio(lambda: in_flight() == 0)

    run(go)


def test_a_call_with_a_done_callback_lives_without_being_held(run):
    async def go(channel, in_flight):
        codes = []
        channel.unary_unary("/t.T/Echo")(b"1").add_done_callback(codes.append)
        gc.collect()
        await until_aio(lambda: codes)
        assert await codes[0].code() is grpc.StatusCode.OK

    run(go)


def test_a_stream_that_nobody_reads_ends_with_its_deadline(run):
    async def go(channel, in_flight):
        call = channel.unary_stream("/t.T/Count")(b"100000", timeout=0.2)
        assert in_flight() == 1
        await until_aio(call.done)
        assert in_flight() == 0
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(go)


def test_a_loop_that_ends_with_calls_running_leaves_no_thread_failing(world, busy):
    node = world.add_node()
    world.controller.push(node)
    channel = meshlb.aio.insecure_channel(world.target())

    async def leave():
        await channel.unary_unary("/t.T/Echo")(b"")
        node.gate.clear()
        held.append(channel.unary_unary("/t.T/Echo")(b""))

    held = []
    asyncio.run(leave())
    world.controller.push(node, complete=True)  # the listeners of the ended loop are told
    held.clear()
    node.gate.set()

    async def end():
        await channel.close()

    asyncio.run(end())


def trouble(rng):
    def hook(method, context):
        roll = rng.random()
        if roll < 0.1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        elif roll < 0.15:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        elif roll < 0.2:
            context.cancel()

    return hook


async def one_random_call(channel, rng):
    timeout = rng.choice((0.001, 0.05, 10))
    kind = rng.randrange(6)
    call = (
        lambda: channel.unary_unary("/t.T/Echo")(b"", timeout=timeout),
        lambda: channel.unary_stream("/t.T/Count")(b"20", timeout=timeout),
        lambda: channel.stream_unary("/t.T/Join")(given(b"1", b"2"), timeout=timeout),
        lambda: channel.stream_stream("/t.T/Chat")(given(b"1", b"2"), timeout=timeout),
        lambda: channel.stream_unary("/t.T/Join")(timeout=timeout),
        lambda: channel.stream_stream("/t.T/Chat")(timeout=timeout),
    )[kind]()
    end = rng.randrange(6)
    if end == 0:
        call.cancel()
        return
    if end == 1:
        return
    if kind >= 4:
        await call.write(b"1")
        if end == 2:
            return
        await call.done_writing()
    if end == 3:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(call.code(), rng.choice((0.0, 0.001, 0.01)))
    if kind in (0, 2, 4):
        await call
        return
    async for _ in call:
        if end == 4:
            return


def test_after_a_storm_nothing_is_in_flight(world, run):
    """Random calls, cancels, drops, failures, restarts and tables: the counts come back to 0."""
    world.a.hook = world.b.hook = trouble(random.Random(7))

    async def go(channel, in_flight):
        async def load(seed):
            rng = random.Random(seed)
            for _ in range(60):
                with contextlib.suppress(
                    grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError
                ):
                    await one_random_call(channel, rng)

        async def cancelled_midway(seed):
            rng = random.Random(seed)
            for _ in range(30):
                task = asyncio.create_task(one_random_call(channel, rng))
                await asyncio.sleep(rng.choice((0, 0, 0.001, 0.01)))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        tasks = [asyncio.create_task(load(seed)) for seed in range(8)]
        tasks += [asyncio.create_task(cancelled_midway(100 + seed)) for seed in range(4)]
        for turn in range(6):
            world.controller.push(*((world.a,) if turn % 2 else (world.a, world.b)))
            if turn == 2:
                await asyncio.to_thread(world.b.stop)
            elif turn == 4:
                await asyncio.to_thread(world.b.start)
            await asyncio.wait(tasks, timeout=0.2)
        await asyncio.gather(*tasks)
        world.controller.push(world.a, world.b)
        gc.collect()
        await until_aio(lambda: in_flight() == 0)

    run(go)
