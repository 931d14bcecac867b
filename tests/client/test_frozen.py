"""A server that is stopped under its calls: left alone, and called again once it runs."""

import contextlib
import signal

import grpc
import grpc.aio
import pytest

from tests.client.aio_calls import all_ready, routes_of
from tests.client.channel_options import ROUND_ROBIN
from tests.waiting import until


def suspects(routes):
    return [n.info.node_id for n in routes.nodes.values() if n.suspected]


@pytest.fixture
def three(world):
    nodes = [world.add_process(name, delay_s=0.002) for name in "abc"]
    world.controller.push(*nodes)
    yield nodes
    nodes[0].process.send_signal(signal.SIGCONT)


def test_by_blocking_calls(world, three):
    channel = world.channel(options=ROUND_ROBIN)
    echo = channel.unary_unary("/t.T/Echo")
    routes = channel._group.routes

    def call():
        try:
            return echo(b"1", timeout=2)
        except grpc.RpcError:  # it was at the node that hangs
            return None

    until(lambda: call() and all(n.link_state.value == "ready" for n in routes.nodes.values()))
    for _ in range(300):
        call()
    three[0].process.send_signal(signal.SIGSTOP)
    until(lambda: call() and suspects(routes) == ["a"], "it is left alone")
    three[0].process.send_signal(signal.SIGCONT)
    until(lambda: call() and suspects(routes) == [], "it is called again")
    frozen = next(n for n in routes.nodes.values() if n.info.node_id == "a")
    before = frozen.succeeded
    until(lambda: call() and frozen.succeeded > before, "its calls end well")


def test_by_asyncio_calls(world, three, run_aio):
    async def go(channel):
        await channel.channel_ready()
        await all_ready(channel)
        echo = channel.unary_unary("/t.T/Echo")
        routes = routes_of(channel)

        async def call_until(done):
            for _ in range(100_000):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await echo(b"1", timeout=2)
                if done():
                    return
            raise AssertionError("never")

        counted = routes.started
        await call_until(lambda: routes.started > counted + 300)
        three[0].process.send_signal(signal.SIGSTOP)
        await call_until(lambda: suspects(routes) == ["a"])
        three[0].process.send_signal(signal.SIGCONT)
        await call_until(lambda: suspects(routes) == [])
        frozen = next(n for n in routes.nodes.values() if n.info.node_id == "a")
        before = frozen.succeeded
        await call_until(lambda: frozen.succeeded > before)

    run_aio(go, ROUND_ROBIN)


def test_of_streams_the_first_message_counts_as_the_answer(mesh):
    stream = mesh.it.unary_stream("/t.T/Count")(b"3", timeout=60)
    assert next(stream) == b"0"
    called = next(n for n in mesh.routes.nodes.values() if n.started)
    assert called.messages == 1
    assert called.load.answer_s > 0.0
    assert list(stream) == [b"1", b"2"]
    mesh.until(lambda: called.succeeded == 1)
    mesh.until(lambda: called.load.answer_s == 0.0, "not for how long the whole stream took")


def test_of_asyncio_streams_too(pair, run_pair):
    async def go(channel):
        stream = channel.unary_stream("/t.T/Count")(b"3", timeout=60)
        assert await stream.read() == b"0"
        called = next(n for n in routes_of(channel).nodes.values() if n.started)
        assert called.messages == 1
        assert called.load.answer_s > 0.0
        assert [message async for message in stream] == [b"1", b"2"]
        assert called.succeeded == 1
        assert called.load.answer_s == 0.0

    run_pair(go)
