"""asyncio calls that nodes refuse or break: moved, sent again, or ended."""

import asyncio

import grpc
import grpc.aio

from tests.client.aio_calls import (
    count_read,
    echo,
    error_of,
    every_call,
    every_given_call,
    given,
    routes_of,
)
from tests.client.channel_options import IDEMPOTENT, config
from tests.client.fakes import CLOSED, aborting
from tests.waiting import until_aio


async def lost(world, channel, *nodes):
    await asyncio.to_thread(world.lost, channel, *nodes)


@every_call
def test_a_refused_call_moves_whatever_its_method(pair, run_in_turn, call):
    async def go(channel):
        await lost(pair, channel, pair.a)
        for _ in range(6):
            assert (await call(channel)).startswith((b"1", b"0"))
        assert len(pair.b.calls) == 6

    run_in_turn(go)


def test_the_metadata_of_a_call_that_moved_is_of_the_node_that_served_it(pair, run_in_turn):
    async def go(channel):
        await lost(pair, channel, pair.a)
        for _ in range(4):
            call = channel.unary_unary("/t.T/Echo")(b"", timeout=60)
            assert dict(await call.initial_metadata())["node"] == "b"
            stream = channel.stream_stream("/t.T/Chat")(given(b"1"), timeout=60)
            await stream.wait_for_connection()
            assert dict(await stream.initial_metadata())["node"] == "b"
            assert await call == b""
            assert await stream.read() == b"1"

    run_in_turn(go)


def test_requests_read_before_a_refusal_are_not_lost(pair, run_in_turn):
    async def go(channel):
        await lost(pair, channel, pair.a)
        whole = b",".join(b"%d" % n for n in range(50))
        for _ in range(4):
            sent = []

            async def requests(sent=sent):
                for n in range(50):
                    sent.append(n)
                    yield b"%d" % n

            assert await channel.stream_unary("/t.T/Join")(requests(), timeout=60) == whole
            assert sent == list(range(50))
            call = channel.stream_unary("/t.T/Join")(timeout=60)
            for n in range(50):
                await call.write(b"%d" % n)
            await call.done_writing()
            assert await call == whole

    run_in_turn(go)


@every_call
def test_a_node_that_is_back_gets_calls_again(pair, run_in_turn, call):
    async def go(channel):
        await lost(pair, channel, pair.a)
        await call(channel)
        await call(channel)
        pair.a.start()
        pair.a.calls.clear()
        while not pair.a.calls:
            await call(channel)

    run_in_turn(go)


@every_given_call
def test_a_call_that_broke_midway_is_not_sent_twice(pair, run_in_turn, call):
    async def go(channel):
        pair.a.hook = pair.b.hook = aborting(*CLOSED)
        error = await error_of(call, channel)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert len(pair.calls) == 1

    run_in_turn(go)


@every_given_call
def test_an_idempotent_call_that_broke_midway_goes_to_the_other_node(pair, run_in_turn, call):
    async def go(channel):
        pair.a.hook = aborting(*CLOSED)
        for _ in range(4):
            assert (await call(channel)).startswith((b"1", b"0"))
        assert len(pair.b.calls) == 4
        assert pair.a.calls

    run_in_turn(go, IDEMPOTENT)


@every_given_call
def test_a_retry_policy_names_the_codes_and_the_attempts(pair, run_in_turn, call):
    async def go(channel):
        pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.ABORTED, "again")
        assert (await error_of(call, channel)).code() is grpc.StatusCode.ABORTED
        assert len(pair.calls) == 3

    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.02s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["ABORTED"],
    }
    run_in_turn(go, config(retryPolicy=policy))


def test_a_node_that_answers_cancelled_is_an_error_of_the_node(pair, run_in_turn):
    async def go(channel):
        pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.CANCELLED, "the node gave up")
        error = await error_of(echo, channel)
        assert error.code() is grpc.StatusCode.CANCELLED
        assert error.details() == "the node gave up"
        failed = [n.failed for n in routes_of(channel).nodes.values()]
        assert sum(failed) == 1

    run_in_turn(go)


def test_a_killed_process_costs_no_idempotent_call(world, run_aio):
    nodes = [world.add_process(name, delay_s=0.005) for name in "abc"]
    world.controller.push(*nodes)

    async def go(channel):
        done, failed, stop = [], [], asyncio.Event()

        async def load(call):
            while not stop.is_set():
                try:
                    await call(channel)
                    done.append(call)
                except Exception as error:
                    failed.append(error)

        tasks = [asyncio.create_task(load((echo, count_read)[n % 2])) for n in range(8)]
        await until_aio(lambda: len(done) > 60)
        nodes[0].kill()
        after = len(done)
        await until_aio(lambda: len(done) > after + 100)
        stop.set()
        await asyncio.gather(*tasks)
        assert failed == []

    run_aio(go, options=IDEMPOTENT)


@every_call
def test_with_every_node_dead_one_is_tried_and_its_error_told_with_the_context(
    pair, run_in_turn, call
):
    async def go(channel):
        await lost(pair, channel, pair.a, pair.b)
        error = await error_of(call, channel)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in error.details()
        assert "service 'test'" in error.details()

    run_in_turn(go)


@every_given_call
def test_with_every_node_dead_a_call_that_waits_for_ready_waits(pair, run_in_turn, call):
    async def go(channel):
        nodes = routes_of(channel).nodes.values()
        await lost(pair, channel, pair.a, pair.b)

        def refusals():
            return sum(n.refused for n in nodes)

        text = ""
        while "refuse" not in text:  # unless the time is over before the first refusal
            error = await error_of(echo, channel, timeout=0.3, wait_for_ready=True)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            text = error.details()
        before = refusals()
        answer = asyncio.create_task(call(channel, wait_for_ready=True))
        await until_aio(lambda: refusals() > before + 4, "both nodes refuse, and again")
        await asyncio.to_thread(pair.b.start)
        assert (await answer).startswith((b"1", b"0"))

    run_in_turn(go)


@every_given_call
def test_with_every_node_dead_a_call_waits_if_others_start(pair, run_in_turn, call):
    pair.controller.push(pair.a, pair.b, starting=True)

    async def go(channel):
        routes = routes_of(channel)
        await until_aio(lambda: routes.starting)
        nodes = list(routes.nodes.values())
        await lost(pair, channel, pair.a, pair.b)
        answer = asyncio.create_task(call(channel))
        await until_aio(lambda: sum(n.refused for n in nodes) > 4, "both nodes refuse, and again")
        pair.controller.push(pair.a, pair.b, await asyncio.to_thread(pair.add_node, "c"))
        assert (await answer).startswith((b"1", b"0"))

    run_in_turn(go)
