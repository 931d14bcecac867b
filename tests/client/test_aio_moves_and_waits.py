"""asyncio calls that are refused, break, are resumed, or have no node to go to yet."""

import asyncio
import json
import socket
import time

import grpc
import grpc.aio
import pytest

import meshlb

CLOSED = (grpc.StatusCode.UNAVAILABLE, "Socket closed")


def config(**method):
    return [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], **method}]}))]


IDEMPOTENT = config(idempotent=True)


def routes_of(channel):
    return channel._here.group.routes


async def until(true, what="", limit_s=60.0):
    give_up = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < give_up, f"waited in vain: {what or true}"
        await asyncio.sleep(0.005)


async def lost(world, channel, *nodes):
    await asyncio.to_thread(world.lost, channel, *nodes)


async def given(*requests):
    for request in requests:
        yield request


async def echo(channel, **how):
    return await channel.unary_unary("/t.T/Echo")(b"1", **how)


async def count(channel, **how):
    return b"".join([m async for m in channel.unary_stream("/t.T/Count")(b"1", **how)])


async def count_read(channel, **how):
    return await channel.unary_stream("/t.T/Count")(b"1", **how).read()


async def join(channel, **how):
    return await channel.stream_unary("/t.T/Join")(given(b"1", b"2"), **how)


async def join_written(channel, **how):
    call = channel.stream_unary("/t.T/Join")(**how)
    await call.write(b"1")
    await call.write(b"2")
    await call.done_writing()
    return await call


async def chat(channel, **how):
    call = channel.stream_stream("/t.T/Chat")(given(b"1", b"2"), **how)
    return b",".join([m async for m in call])


async def chat_written(channel, **how):
    call = channel.stream_stream("/t.T/Chat")(**how)
    await call.write(b"1")
    await call.done_writing()
    return await call.read()


CALLS = (echo, count, count_read, join, join_written, chat, chat_written)
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
GIVEN = (echo, count, count_read, join, chat)
every_given_call = pytest.mark.parametrize("call", GIVEN, ids=lambda call: call.__name__)


@pytest.fixture
def run(world, busy):
    """Run ``go(channel)``, and look that nothing is in flight after it."""

    def run_it(go, *controllers, options=(), target=None):
        async def main():
            async with meshlb.aio.insecure_channel(
                target or world.target(*controllers),
                options=[("meshlb.picker", "round_robin"), *options],
            ) as channel:
                await asyncio.wait_for(go(channel), 100)
                routes = routes_of(channel)
                await until(lambda: busy(routes) == 0, "no call in flight at the end")

        asyncio.run(main())

    return run_it


@pytest.fixture
def two(world, run):
    """``two.run(go)``: with two connected nodes."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)

    def connected(go, options=()):
        async def first(channel):
            await echo(channel, timeout=60)
            nodes = routes_of(channel).nodes
            await until(lambda: all(n.link_state.value == "ready" for n in nodes.values()))
            world.a.calls.clear()
            world.b.calls.clear()
            await go(channel)

        run(first, options=options)

    world.run = connected
    return world


def abort_with(code, text):
    return lambda method, context: context.abort(code, text)


def cut_after(last):
    def cut(n, context):
        if n == last:
            context.abort(*CLOSED)

    return cut


async def error_of(call, channel, **how):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, **how)
    return caught.value


@every_call
def test_a_refused_call_moves_whatever_its_method(two, call):
    async def go(channel):
        await lost(two, channel, two.a)
        for _ in range(6):
            assert (await call(channel, timeout=60)).startswith((b"1", b"0"))
        assert len(two.b.calls) == 6

    two.run(go)


def test_the_metadata_of_a_call_that_moved_is_of_the_node_that_served_it(two):
    async def go(channel):
        await lost(two, channel, two.a)
        for _ in range(4):
            call = channel.unary_unary("/t.T/Echo")(b"", timeout=60)
            assert dict(await call.initial_metadata())["node"] == "b"
            stream = channel.stream_stream("/t.T/Chat")(given(b"1"), timeout=60)
            await stream.wait_for_connection()
            assert dict(await stream.initial_metadata())["node"] == "b"
            assert await call == b""
            assert await stream.read() == b"1"

    two.run(go)


def test_requests_read_before_a_refusal_are_not_lost(two):
    async def go(channel):
        await lost(two, channel, two.a)
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

    two.run(go)


@every_call
def test_a_node_that_is_back_gets_calls_again(two, call):
    async def go(channel):
        await lost(two, channel, two.a)
        await call(channel, timeout=60)
        await call(channel, timeout=60)
        two.a.start()
        two.a.calls.clear()
        while not two.a.calls:
            await call(channel, timeout=60)

    two.run(go)


@every_given_call
def test_a_call_that_broke_midway_is_not_sent_twice(two, call):
    async def go(channel):
        two.a.hook = two.b.hook = abort_with(*CLOSED)
        error = await error_of(call, channel, timeout=60)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert len(two.a.calls) + len(two.b.calls) == 1

    two.run(go)


@every_given_call
def test_an_idempotent_call_that_broke_midway_goes_to_the_other_node(two, call):
    async def go(channel):
        two.a.hook = abort_with(*CLOSED)
        for _ in range(4):
            assert (await call(channel, timeout=60)).startswith((b"1", b"0"))
        assert len(two.b.calls) == 4
        assert two.a.calls

    two.run(go, IDEMPOTENT)


@every_given_call
def test_a_retry_policy_names_the_codes_and_the_attempts(two, call):
    async def go(channel):
        two.a.hook = two.b.hook = abort_with(grpc.StatusCode.ABORTED, "again")
        assert (await error_of(call, channel, timeout=60)).code() is grpc.StatusCode.ABORTED
        assert len(two.a.calls) + len(two.b.calls) == 3

    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.02s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["ABORTED"],
    }
    two.run(go, config(retryPolicy=policy))


def test_a_node_that_answers_cancelled_is_an_error_of_the_node(two):
    async def go(channel):
        two.a.hook = two.b.hook = abort_with(grpc.StatusCode.CANCELLED, "the node gave up")
        error = await error_of(echo, channel, timeout=60)
        assert error.code() is grpc.StatusCode.CANCELLED
        assert error.details() == "the node gave up"
        failed = [n.failed for n in routes_of(channel).nodes.values()]
        assert sum(failed) == 1

    two.run(go)


def test_a_stream_resumes_where_it_broke(two):
    asked = []

    def rest(request, received):
        asked.append((request, list(received)))
        return b"%d" % (int(request) - len(received))

    async def go(channel):
        two.a.after_message = cut_after(1)
        while not asked:
            call = channel.unary_stream("/t.T/Count")(b"4", timeout=60)
            got = [m async for m in call]
            assert await call.code() is grpc.StatusCode.OK
            assert got == [b"0", b"1", *([b"0", b"1"] if asked else [b"2", b"3"])]
        assert asked == [(b"4", [b"0", b"1"])]

    two.run(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])


@pytest.mark.parametrize("reads", [False, True])
def test_a_stream_that_broke_after_its_last_message_is_whole(two, reads):
    async def go(channel):
        two.a.after_message = two.b.after_message = cut_after(1)
        call = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
        if reads:
            got = [await call.read(), await call.read()]
            assert await call.read() is grpc.aio.EOF
        else:
            got = [m async for m in call]
        assert got == [b"0", b"1"]
        assert await call.code() is grpc.StatusCode.OK
        assert await call.details() == ""

    two.run(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: None})])


def test_without_a_hook_messages_that_reached_the_caller_forbid_the_retry(two):
    async def go(channel):
        two.a.after_message = two.b.after_message = cut_after(1)
        call = channel.unary_stream("/t.T/Count")(b"5", timeout=60)
        assert [await call.read(), await call.read()] == [b"0", b"1"]
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert len(two.a.calls) + len(two.b.calls) == 1

    two.run(go, IDEMPOTENT)


def test_a_resume_hook_that_raises_ends_the_call_with_the_nodes_error(two):
    async def go(channel):
        two.a.after_message = two.b.after_message = cut_after(0)
        call = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
        assert await call.read() == b"0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.details() == "Socket closed"

    two.run(go, [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})])


def test_a_killed_process_costs_no_idempotent_call(world, run):
    nodes = [world.add_process(name, delay_s=0.005) for name in "abc"]
    world.controller.push(*nodes)

    async def go(channel):
        done, failed, stop = [], [], asyncio.Event()

        async def load(call):
            while not stop.is_set():
                try:
                    await call(channel, timeout=60)
                    done.append(call)
                except Exception as error:
                    failed.append(error)

        tasks = [asyncio.create_task(load((echo, count_read)[n % 2])) for n in range(8)]
        await until(lambda: len(done) > 60)
        nodes[0].kill()
        after = len(done)
        await until(lambda: len(done) > after + 100)
        stop.set()
        await asyncio.gather(*tasks)
        assert failed == []

    run(go, options=IDEMPOTENT)


@every_call
def test_with_every_node_dead_one_is_tried_and_its_error_told_with_the_context(two, call):
    async def go(channel):
        await lost(two, channel, two.a, two.b)
        error = await error_of(call, channel, timeout=60)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in error.details()
        assert "service 'test'" in error.details()

    two.run(go)


@every_call
def test_with_every_node_dead_a_call_that_waits_for_ready_waits(two, call):
    async def go(channel):
        nodes = routes_of(channel).nodes.values()
        await lost(two, channel, two.a, two.b)

        def refusals():
            return sum(n.refused for n in nodes)

        text = ""
        while "refuse" not in text:  # unless the time is over before the first refusal
            error = await error_of(echo, channel, timeout=0.3, wait_for_ready=True)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            text = error.details()
        before = refusals()
        answer = asyncio.create_task(call(channel, timeout=60, wait_for_ready=True))
        await until(lambda: refusals() > before + 4, "both nodes refuse, and again")
        await asyncio.to_thread(two.b.start)
        assert (await answer).startswith((b"1", b"0"))

    two.run(go)


# --- no node yet ---------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("wait_for_ready", [None, True])
def test_without_a_table_yet_a_call_waits_for_it(world, run, call, wait_for_ready):
    async def go(channel):
        task = asyncio.create_task(call(channel, timeout=60, wait_for_ready=wait_for_ready))
        await until(lambda: channel._here is not None and routes_of(channel).waiting == 1)
        reports = world.controller.reports
        await until(lambda: reports and reports[-1].waiting == 1)
        world.controller.push(world.add_node())
        assert (await task).startswith((b"1", b"0"))
        assert routes_of(channel).waiting == 0

    run(go)


@every_call
def test_a_deadline_that_passes_without_a_table_says_so(world, run, call):
    async def go(channel):
        error = await error_of(call, channel, timeout=0.1)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no routing table for service 'test'" in error.details()

    run(go)


@every_given_call
def test_a_service_scaled_to_zero_makes_calls_wait(world, run, call):
    world.controller.push()

    async def go(channel):
        channel.get_state(try_to_connect=True)
        await until(lambda: routes_of(channel).table is not None)
        error = await error_of(call, channel, timeout=0.2)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "has no node" in error.details()
        task = asyncio.create_task(call(channel, timeout=60))
        await until(lambda: routes_of(channel).waiting == 1)
        world.controller.push(world.add_node())
        assert await task

    run(go)


@every_call
def test_all_controllers_refusing_is_unavailable_and_says_what_to_check(run, call):
    with socket.socket() as one, socket.socket() as two:
        for taken in (one, two):
            taken.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in (one, two)]

        async def go(channel):
            error = await error_of(call, channel, timeout=60)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            for part in (*addresses, "refused", "meshlb controller"):
                assert part in error.details()
            error = await error_of(call, channel, timeout=0.2, wait_for_ready=True)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        run(go, target=f"mesh://{','.join(addresses)}/test")


def test_waiting_calls_can_be_cancelled_dropped_and_closed(world, run):
    async def go(channel):
        def waiting():
            return routes_of(channel).waiting

        call = channel.unary_unary("/t.T/Echo")(b"")
        await until(lambda: waiting() == 1)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await call.code() is grpc.StatusCode.CANCELLED
        dropped = channel.unary_stream("/t.T/Count")(b"1")
        await until(lambda: waiting() == 1)
        del dropped
        await until(lambda: waiting() == 0)
        calls = [channel.unary_unary("/t.T/Echo")(b""), channel.stream_stream("/t.T/Chat")()]
        await until(lambda: waiting() == 2)
        await channel.close()
        await until(lambda: waiting() == 0)
        for call in calls:
            assert await call.code() is grpc.StatusCode.CANCELLED

    run(go)


def test_many_calls_wait_at_once(world, run):
    async def go(channel):
        calls = [echo(channel, timeout=60) for _ in range(300)]
        answers = asyncio.gather(*calls)
        await until(lambda: channel._here is not None and routes_of(channel).waiting == 300)
        world.controller.push(world.add_node())
        assert await answers == [b"1"] * 300

    run(go)
