"""Sidecars that prove who they are, to controllers and to their own server."""

import asyncio
import hashlib
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from meshlb.model import NodeInfo
from meshlb.security import following
from meshlb.security.client_tls import Tls
from meshlb.security.server_tls import ServerTls
from meshlb.v1 import balance_pb2, load_pb2
from sidecar import __main__ as command
from sidecar import report_stream
from sidecar.agent import Agent
from tests.waiting import until_aio

TOKEN = "a-token-of-a-node-0123456789"


def tls_of(files):
    return Tls(ca=files.ca, cert=files.cert, key=files.key, note=lambda *_: None)


def nodes_of(controller, tls=None, metadata=()):
    stub = controller.balance_of(tls)
    return {
        one.node.node_id: one
        for one in stub.ListNodes(balance_pb2.ListNodesRequest(), metadata=metadata).nodes
    }


class Sidecar:
    """An agent in this loop, until the block ends."""

    def __init__(self, controller, node="127.0.0.1:9", authority="", **how):
        info = NodeInfo("s", "n", 1, node, authority=authority)
        self.agent = Agent(info, [controller.address], None, drain_on_exit=False, **how)
        self._stop = asyncio.Event()

    async def __aenter__(self):
        self._running = asyncio.create_task(self.agent.run(self._stop))
        return self.agent

    async def __aexit__(self, *what):
        self._stop.set()
        await asyncio.wait_for(self._running, 60)


@pytest.fixture
def told(monkeypatch):
    """What report streams log of their end, as (event, problem)."""
    lines = []
    plain = report_stream.ReportStream._tell

    def tell(self, event, problem, kind):
        lines.append((event, problem))
        plain(self, event, problem, kind)

    monkeypatch.setattr(report_stream.ReportStream, "_tell", tell)
    return lines


def test_certificates_are_swapped_without_a_gap(secured, pki, monkeypatch, told):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.05)
    controller = secured({"controller": pki.controller()})
    files = pki.write("swapped", "spiffe://test.local/meshlb/node/s")
    viewer = pki.tls("viewer")

    async def main():
        async with Sidecar(controller, tls=tls_of(files)) as agent:
            await until_aio(lambda: "n" in nodes_of(controller, viewer))
            stream = agent._streams[0]
            assert stream._generation == 0
            pki.write("swapped", "spiffe://test.local/meshlb/node")
            await until_aio(lambda: stream._generation == 1)
            at = nodes_of(controller, viewer)["n"].report.observe_time.ToNanoseconds()

            def later():
                node = nodes_of(controller, viewer)["n"]
                return node.report.observe_time.ToNanoseconds() > at

            await until_aio(later)
            assert told == []

    asyncio.run(main())


def test_refusals_are_told_with_what_to_do(secured, pki, other_pki, told):
    controller = secured({"controller": pki.controller()})
    strange = other_pki.write("strange-node", "spiffe://test.local/meshlb/node/s")

    async def said(words, **how):
        told.clear()
        async with Sidecar(controller, **how):
            await until_aio(lambda: any(words in problem for _, problem in told), words)

    async def main():
        await said("report load of 't' only, not of service 's'", tls=pki.tls("node", "t"))
        await said("may not report for a node at 10.9.9.9:9",
                   tls=pki.tls("node"), node="10.9.9.9:9")  # fmt: skip
        await said("has the role client, and only the role node", tls=pki.tls("client"))
        await said("signed by an authority that the server does not know",
                   tls=Tls(ca=pki.ca, cert=strange.cert, key=strange.key))  # fmt: skip
        await said("we speak plain text: use --ca")

    asyncio.run(main())


def test_a_token_does_it_too(secured, tmp_path):
    tokens, token = tmp_path / "tokens.toml", tmp_path / "token"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[token.n]\nsha256 = "{digest}"\nroles = ["node", "viewer"]\n')
    token.write_text(TOKEN)
    controller = secured({"access": {"tokens": str(tokens)}})
    bearer = (("authorization", f"Bearer {TOKEN}"),)

    async def main():
        async with Sidecar(controller, token_file=str(token)):
            await until_aio(lambda: "n" in nodes_of(controller, metadata=bearer))

    asyncio.run(main())


def test_a_server_with_tls_is_asked_under_its_own_authority(secured, pki):
    """The server asks for a certificate, and has one for a name that is not its address."""
    controller = secured({})
    files = pki.write("model", None, ("model.test",))
    ours = pki.write("to-model", "spiffe://test.local/sidecar")

    async def main():
        server = grpc.aio.server()
        serving = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(serving, server)
        credentials = ServerTls(files, print).credentials()
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await serving.set("", health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        node = f"127.0.0.1:{port}"
        async with Sidecar(controller, node, "model.test", node_tls=tls_of(ours)):
            await until_aio(lambda: "n" in nodes_of(controller))
            found = nodes_of(controller)["n"]
            assert found.report.health == load_pb2.HEALTH_SERVING
            assert found.node.authority == "model.test"
        await server.stop(0)

    asyncio.run(main())


BASE = ["--service", "s", "--node", "127.0.0.1:9"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--cert", "x"], "key = '': a file, since cert is given"),
        (["--ca", "/nowhere"], "ca = '/nowhere': a readable file"),
        (["--node-ca", "/nowhere"], "ca = '/nowhere': a readable file"),
        (["--token-file", "/nowhere"], "token_file = '/nowhere': a readable file"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(args, said, capsys):
    assert command.main(["--controller", "127.0.0.1:7700", *BASE, *args]) == 2
    assert said in capsys.readouterr().err


def test_no_token_in_plain_text(tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    args = ["--controller", "10.0.0.1:7700", *BASE, "--token-file", str(token)]
    assert command.main(args) == 2
    told = capsys.readouterr().err
    assert "only together with --ca" in told
    assert TOKEN not in told
    assert Path(token).read_text() == TOKEN
