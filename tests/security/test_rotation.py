"""Certificates swapped under load: no call fails, and what is new comes into use everywhere."""

import asyncio
import ssl
import threading
from pathlib import Path

import grpc
import psutil
import pytest

import meshlb
from meshlb.client import rotation
from meshlb.security import following
from meshlb.security.client_tls import Tls
from meshlb.security.material import Files
from meshlb.security.server_tls import ServerTls
from tests.client.fakes import FakeController, Node
from tests.security.pki import HOSTS, Pki
from tests.waiting import until, until_aio

ONE, TWO = "spiffe://test.local/meshlb/client/one", "spiffe://test.local/meshlb/client/two"
ROUND_ROBIN = [("meshlb.picker", "round_robin")]


def silent(event, text):
    pass


def links_of(routes):
    """Return the links of all nodes."""
    return {node.link for node in routes.nodes.values()}


def replaced(routes, before):
    """Return a condition: no node has one of the links of before."""
    return lambda: not before & links_of(routes)


class World:
    """A controller and two nodes with mTLS, and the files of one client."""

    def __init__(self, folder):
        self.pki = Pki(folder)
        self.server_files = self.pki.write("server", None, HOSTS)
        self.files = self.pki.write("client", ONE)
        self.tls = Tls(ca=self.files.ca, cert=self.files.cert, key=self.files.key, note=silent)
        self.seen = {"a": set(), "b": set()}
        self.nodes = [Node(name, credentials=self.server()) for name in ("a", "b")]
        self.controller = FakeController(credentials=self.server())
        self.controller.push(*self.nodes)
        for node in self.nodes:
            node.hook = self._look(node.name)
        self.target = f"mesh://{self.controller.address}/test"

    def server(self):
        return ServerTls(self.server_files, silent).credentials()

    def _look(self, name):
        def hook(method, context):
            self.seen[name].update(context.auth_context()["peer_uri"])

        return hook

    def swap(self):
        """Replace the client's files."""
        self.pki.write("client", TWO)

    def swapped(self):
        return all(TWO.encode() in seen for seen in self.seen.values())

    def connections(self):
        ports = {node.port for node in self.nodes}
        return sum(
            1
            for one in psutil.Process().net_connections("tcp")
            if one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports
        )

    def close(self):
        for one in (self.controller, *self.nodes):
            one.stop()


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(rotation, "LOOK_EVERY_S", 0.05)
    made = World(tmp_path)
    yield made
    made.close()


def test_swapped_under_load_in_threads(world):
    failed, stop = [], threading.Event()
    with meshlb.secure_channel(world.target, world.tls, options=ROUND_ROBIN) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        count = channel.unary_stream("/t.T/Count")

        def load():
            while not stop.is_set():
                try:
                    assert echo(b"1", timeout=60) == b"1"
                    assert list(count(b"2", timeout=60)) == [b"0", b"1"]
                except Exception as error:
                    failed.append(error)

        echo(b"1", timeout=60)
        routes = channel._group.routes
        until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
        world.nodes[0].gate.clear()
        held = [echo.future(b"held", timeout=100) for _ in range(2)]  # one of them is at a
        until(lambda: any(not one.done() for one in held))
        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        before = links_of(routes)
        subscribed = len(world.controller.subscribed)
        world.swap()
        until(replaced(routes, before), "links replaced")
        before.clear()
        until(lambda: len(world.controller.subscribed) > subscribed, "subscribed anew")
        world.nodes[0].gate.set()
        until(world.swapped, "the new certificate is seen at both nodes")
        assert [one.result(60) for one in held] == [b"held"] * 2
        held.clear()
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        until(lambda: world.connections() == 2, "old connections are closed")


def test_swapped_under_load_in_a_loop(world):
    async def main():
        failed, stop = [], asyncio.Event()
        async with meshlb.aio.secure_channel(
            world.target, world.tls, options=ROUND_ROBIN
        ) as channel:
            echo = channel.unary_unary("/t.T/Echo")
            count = channel.unary_stream("/t.T/Count")

            async def load():
                while not stop.is_set():
                    try:
                        assert await echo(b"1", timeout=60) == b"1"
                        found = [one async for one in count(b"2", timeout=60)]
                        assert found == [b"0", b"1"]
                    except Exception as error:
                        failed.append(error)

            await echo(b"1", timeout=60)
            routes = channel._here.group.routes
            await until_aio(
                lambda: all(n.link_state.value == "ready" for n in routes.nodes.values())
            )
            world.nodes[0].gate.clear()
            held = [echo(b"held", timeout=100) for _ in range(2)]
            tasks = [asyncio.create_task(load()) for _ in range(2)]
            await until_aio(lambda: any(not one.done() for one in held))
            before = links_of(routes)
            world.swap()
            await until_aio(replaced(routes, before))
            before.clear()
            world.nodes[0].gate.set()
            await until_aio(world.swapped)
            assert [await one for one in held] == [b"held"] * 2
            held.clear()
            stop.set()
            await asyncio.gather(*tasks)
            assert failed == []
            await until_aio(lambda: world.connections() == 2, "old connections are closed")

    asyncio.run(main())


def test_a_half_written_pair_is_kept_out_and_calls_go_on(world):
    told = []
    tls = Tls(
        ca=world.files.ca,
        cert=world.files.cert,
        key=world.files.key,
        note=lambda event, text: told.append(event),
    )
    with meshlb.secure_channel(world.target, tls, options=ROUND_ROBIN) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        echo(b"1", timeout=60)
        routes = channel._group.routes
        before = links_of(routes)
        Path(world.files.cert).write_text("-----BEGIN CERTIFICATE-----\n")
        until(lambda: told)
        for _ in range(10):
            echo(b"1", timeout=60)
        assert before == links_of(routes)
        assert told == ["certificates_not_taken"]
        world.swap()
        until(lambda: len(told) == 2 and replaced(routes, before)())
        echo(b"1", timeout=60)


def test_a_certificate_that_nodes_refuse_takes_no_link_away(world, other_pki):
    with meshlb.secure_channel(world.target, world.tls, options=ROUND_ROBIN) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        echo(b"1", timeout=60)
        routes = channel._group.routes
        until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
        before = links_of(routes)
        made = other_pki.made(TWO)
        for path, content in ((world.files.key, made.key), (world.files.cert, made.cert)):
            Path(path).write_bytes(content)
        group = channel._group
        until(lambda: group.rotation._pending, "successors try to connect")
        for _ in range(20):
            assert echo(b"1", timeout=60) == b"1"
        assert before == links_of(routes)
        world.swap()
        until(replaced(routes, before))
        assert echo(b"1", timeout=60) == b"1"


def test_a_server_shows_its_new_certificate_to_whoever_comes_next(world):
    node = world.nodes[0]

    def shown():
        return ssl.get_server_certificate(("127.0.0.1", node.port), timeout=60).strip()

    assert shown() == Path(world.server_files.cert).read_text().strip()
    with meshlb.secure_channel(world.target, world.tls) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        echo(b"1", timeout=60)
        world.pki.write("server", None, HOSTS)
        fresh = Path(world.server_files.cert).read_text().strip()
        until(lambda: shown() == fresh)
        assert echo(b"1", timeout=60) == b"1"


def test_credentials_of_grpc_are_never_replaced(world):
    given = grpc.ssl_channel_credentials(
        *(Path(path).read_bytes() for path in (world.files.ca, world.files.key, world.files.cert))
    )
    with meshlb.secure_channel(world.target, given) as channel:
        channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
        assert channel._group.rotation is None


def test_the_token_goes_to_controllers_and_never_to_nodes(world, tmp_path):
    path = tmp_path / "token"
    path.write_text("a-token-0123456789abcdef")
    heard = []
    watch = world.controller.WatchRoutes

    def listening(requests, context):
        heard.append(dict(context.invocation_metadata()).get("authorization"))
        return watch(requests, context)

    world.controller.WatchRoutes = listening
    world.controller.stop()
    world.controller._credentials = world.server()
    world.controller.start()
    files = world.files
    tls = meshlb.tls(ca=files.ca, cert=files.cert, key=files.key, token_file=path)
    with meshlb.secure_channel(world.target, tls) as channel:
        channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
    assert heard[0] == "Bearer a-token-0123456789abcdef"
    assert not any("authorization" in m for node in world.nodes for m in node.metadata)


def test_files_of_wrong_kinds_are_refused(world):
    with pytest.raises(ValueError, match=r"credentials = Files: meshlb\.tls"):
        meshlb.secure_channel(world.target, Files())


def test_a_channel_that_is_dropped_without_close_follows_nothing_any_more(world):
    channel = meshlb.secure_channel(world.target, world.tls)
    channel.unary_unary("/t.T/Echo")(b"1", timeout=60)
    following = [t for t in threading.enumerate() if t.name == "meshlb certificates"]
    assert following
    del channel
    until(lambda: not any(thread.is_alive() for thread in following))
