"""Runs a test's coroutine in a loop of its own, and sees to it that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json

import pytest

import meshlb.aio


def routes_of(channel):
    return channel._here.group.routes


class Aio:
    """The world of the synchronous tests, and how to use it from a loop."""

    def __init__(self, world):
        self.world = world
        self.complaints = []

    def run(self, main, limit_s=50):
        """Run ``main()``; the loop must have had nothing to complain of, not even at the end."""

        async def watched():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: self.complaints.append(context))
            try:
                return await asyncio.wait_for(main(), limit_s)
            finally:
                gc.collect()
                await asyncio.sleep(0.01)

        answer = asyncio.run(watched())
        gc.collect()
        assert self.complaints == []
        return answer

    def channel(self, **how):
        return meshlb.aio.insecure_channel(self.world.target(), **how)

    @contextlib.asynccontextmanager
    async def open(self, *, options=(), **how):
        """A channel under round_robin, connected to all nodes; counts must come back to 0."""
        options = [("meshlb.picker", "round_robin"), *options]
        async with self.channel(options=options, **how) as channel:
            await self.connected(channel)
            yield channel
            await self.idle(channel)

    async def connected(self, channel):
        channel.get_state(try_to_connect=True)
        await self.until(
            lambda: (
                channel.get_state(try_to_connect=True).name == "READY"
                and all(n.link_state.value == "ready" for n in routes_of(channel).nodes.values())
            ),
            "all nodes connected",
        )

    async def idle(self, channel):
        for name in ("a", "b"):
            node = getattr(self.world, name, None)
            if node is not None:
                node.gate.set()
        await self.until(lambda: self.busy(channel) == 0, "no call in flight at the end")

    @staticmethod
    def busy(channel):
        """Calls in flight and waiting."""
        routes = routes_of(channel)
        counts = [n.load.in_flight for n in (*routes.nodes.values(), *routes._leaving)]
        assert min(counts, default=0) >= 0
        assert sum(counts) == routes.client.in_flight or routes.closed
        return routes.client.in_flight + routes.waiting

    @staticmethod
    async def until(true, what="", limit_s=10.0):
        loop = asyncio.get_running_loop()
        give_up = loop.time() + limit_s
        while not true():
            if loop.time() > give_up:
                pytest.fail(f"waited {limit_s} s in vain: {what or true}")
            await asyncio.sleep(0.005)


@pytest.fixture
def aio(world):
    return Aio(world)


@pytest.fixture
def two(world):
    """Two nodes in the table: ``world.a`` and ``world.b``."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)
    yield world
    world.a.gate.set()
    world.b.gate.set()


@pytest.fixture
def idempotent():
    """Options that declare every method of t.T idempotent."""
    config = {"methodConfig": [{"name": [{"service": "t.T"}], "idempotent": True}]}
    return [("grpc.service_config", json.dumps(config))]
