"""Makes controllers, nodes and channels for a test, and looks that no call is left in flight."""

import asyncio
import contextlib
import gc

import grpc
import grpc.aio
import pytest

import meshlb
from tests.client.aio_calls import all_ready, routes_of
from tests.client.channel_options import ROUND_ROBIN, config
from tests.client.fakes import SERVICE, FakeController, Node
from tests.client.node_process import NodeProcess
from tests.waiting import until, until_aio


class World:
    """Makes controllers, nodes and channels, and stops them all at the end."""

    SERVICE = SERVICE
    until = staticmethod(until)

    def __init__(self):
        self._stop = contextlib.ExitStack()
        self._controller = None

    @property
    def controller(self):
        if self._controller is None:
            self._controller = self.add_controller()
        return self._controller

    def add_controller(self, name="c1", **how):
        controller = FakeController(name, **how)
        self._stop.callback(controller.stop)
        return controller

    def add_node(self, name="a", **how):
        node = Node(name, **how)
        self._stop.callback(node.stop)
        return node

    def add_process(self, name="a", **how):
        node = NodeProcess(name, **how)
        self._stop.callback(node.stop)
        return node

    def target(self, *controllers, service=SERVICE):
        found = controllers or (self.controller,)
        return f"mesh://{','.join(c.address for c in found)}/{service}"

    def lost(self, channel, *nodes):
        """Stop nodes, and wait until gRPC knows that their connections are gone.

        A call begun on a connection whose end is not known yet is lost, not refused: nobody can
        tell how far it came, so it ends with UNAVAILABLE unless its method is idempotent.
        """
        for node in nodes:
            node.stop()
        addresses = {node.info.address for node in nodes}
        group = getattr(channel, "_group", None) or channel._here.group
        links = [n.link for n in group.routes.nodes.values() if n.info.address in addresses]
        assert len(links) == len(nodes)
        until(lambda: not any(map(connected, links)), "gRPC sees that the nodes are gone")

    def channel(self, *controllers, options=None, **how):
        channel = meshlb.insecure_channel(self.target(*controllers), options=options, **how)
        self._stop.callback(channel.close)
        return channel

    def hold(self):
        """Let no call get past its beginning at ``a`` and ``b``."""
        self.a.gate.clear()
        self.b.gate.clear()

    def let_go(self):
        self.a.gate.set()
        self.b.gate.set()

    @property
    def calls(self):
        """The calls that reached ``a`` or ``b``."""
        return [*self.a.calls, *self.b.calls]

    def close(self):
        self._stop.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A fake controller says only what it is told to: by that alone none hangs."""
    monkeypatch.setattr("meshlb.client.subscription.SILENCE_S", 600.0)


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


@pytest.fixture
def pair(world):
    """Two nodes in the table: ``world.a`` and ``world.b``."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)
    yield world
    world.let_go()


@pytest.fixture
def mesh(pair):
    """The same, and a channel: ``pair.it``."""
    pair.it = pair.channel()
    pair.routes = pair.it._group.routes
    yield pair
    pair.let_go()
    until(lambda: in_flight(pair.routes) == 0, "no call in flight at the end")


def connected(link):
    """Return whether gRPC takes a link's connection to be up at this moment."""
    if link is None or link.channel is None:
        return False
    ready = grpc.ChannelConnectivity.READY
    if isinstance(link.channel, grpc.aio.Channel):
        return link.channel.get_state() is ready
    return link.channel._channel.check_connectivity_state(False) == ready.value[0]


def in_flight(routes):
    with routes.lock:
        counts = [n.load.in_flight for n in (*routes.nodes.values(), *routes._leaving)]
        assert min(counts, default=0) >= 0
        assert sum(counts) == routes.client.in_flight or routes.closed
        return routes.client.in_flight + routes.waiting


@pytest.fixture
def busy():
    """Return the count of a Routes' calls in flight and waiting."""
    return in_flight


@pytest.fixture
def open_in_turn(pair):
    """Return a function that opens a channel: two connected nodes, called in turn."""
    opened = []

    def open_channel(options=()):
        channel = pair.channel(options=[*ROUND_ROBIN, *options])
        channel.unary_unary("/t.T/Echo")(b"", timeout=60)
        routes = channel._group.routes
        until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
        for node in (pair.a, pair.b):
            node.calls.clear()
        opened.append(routes)
        return channel

    yield open_channel
    for routes in opened:
        until(lambda routes=routes: in_flight(routes) == 0, "no call in flight at the end")


@pytest.fixture
def run_aio(world):
    """Run ``go(channel)`` in a loop of its own; nothing is in flight after it."""

    def run(go, options=(), interceptors=None, target=None):
        async def main():
            async with meshlb.aio.insecure_channel(
                target or world.target(), options, interceptors=interceptors
            ) as channel:
                await asyncio.wait_for(go(channel), 100)
                routes = routes_of(channel)
                await until_aio(lambda: in_flight(routes) == 0, "no call in flight at the end")
                assert not channel._here.calls

        asyncio.run(main())

    return run


@pytest.fixture
def run_pair(pair, run_aio):
    """The same over two connected nodes."""

    def run(go, options=(), interceptors=None):
        async def connected(channel):
            await channel.channel_ready()
            await all_ready(channel)
            await go(channel)

        run_aio(connected, options, interceptors)

    return run


@pytest.fixture
def run_in_turn(run_pair):
    """The same, with calls going to one and the other in turn."""

    def run(go, options=(), interceptors=None):
        run_pair(go, [*ROUND_ROBIN, *options], interceptors)

    return run


@pytest.fixture
def run_quietly(run_in_turn):
    """The same for methods configured so, in a loop that must have no complaint."""
    complaints = []

    def complain(_, context):
        # gRPC tells the loop that runs of what came too late for one that has ended.
        if "PollerCompletionQueue" not in context["message"]:
            complaints.append(context)

    def run(go, **method):
        async def watched(channel):
            asyncio.get_running_loop().set_exception_handler(complain)
            await go(channel)
            gc.collect()

        run_in_turn(watched, config(**method))
        gc.collect()
        assert complaints == []

    return run


@pytest.fixture(params=["mesh", "raw"])
def run_both(request, pair):
    """Run ``go(channel)``; the same test over gRPC's own channel says that the test is right."""

    def run(go):
        async def main():
            if request.param == "raw":
                async with grpc.aio.insecure_channel(f"127.0.0.1:{pair.a.port}") as channel:
                    await asyncio.wait_for(go(channel), 100)
                return
            async with meshlb.aio.insecure_channel(pair.target()) as channel:
                await asyncio.wait_for(go(channel), 100)
                pair.let_go()
                routes = None if channel._here is None else routes_of(channel)
                if routes is not None and not routes.closed:
                    await until_aio(lambda: in_flight(routes) == 0, "no call in flight at the end")

        asyncio.run(main())

    return run
