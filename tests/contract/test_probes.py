"""What every probe keeps, whatever it reads and whether or not there is a server."""

import asyncio
import dataclasses
import inspect
import socket
from concurrent import futures

import grpc
import pytest

from meshlb import plugins, wire
from meshlb.model import LoadReport, NodeInfo
from sidecar.probes import Node
from sidecar.signals import merged

NAMES = plugins.names("sidecar.probes")
FIELDS = {f.name for f in dataclasses.fields(LoadReport)} - {"node", "observe_time_s"} | {"slots"}
INFO = NodeInfo(service="s", node_id="n", incarnation=1, address="127.0.0.1:1")


def test_the_known_sources_are_found():
    assert {"gpu", "health", "host", "orca", "process"} <= set(NAMES)


@pytest.fixture(params=NAMES)
def module(request):
    return plugins.load("sidecar.probes", request.param)


def use(module, address, readings):
    """Read a probe so many times and close it; return what it found."""

    async def run():
        probe = module.Probe(Node(address))
        found = []
        try:
            async with asyncio.timeout(60):
                for _ in range(readings):
                    found.append(await probe.read())
                    await asyncio.sleep(0.02)
        finally:
            await asyncio.wait_for(probe.close(), 60)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [t for t in others if "sidecar" in repr(t.get_coro())], "close leaves a task"
        return found

    return asyncio.run(run())


@pytest.fixture
def server():
    """A model server that knows neither health nor ORCA."""
    made = grpc.server(futures.ThreadPoolExecutor(1))
    made.address = f"127.0.0.1:{made.add_insecure_port('127.0.0.1:0')}"
    made.start()
    yield made
    made.stop(0).wait()


def check(found):
    for one in found:
        assert one.keys() <= FIELDS
        # Unknown is left out, and what is there is in its range.
        assert all(value is not None for value in one.values())
        message, problems = merged(INFO, {"probe": one}, 1.0)
        assert problems == {}
        wire.load_report_from_pb(message)


def test_it_says_what_it_is_and_has_the_three_methods(module):
    assert module.__doc__
    assert list(inspect.signature(module.Probe).parameters) == ["node"]
    assert inspect.iscoroutinefunction(module.Probe.read)
    assert inspect.iscoroutinefunction(module.Probe.close)


def test_with_a_server_its_fields_are_those_of_a_report(module, server):
    check(use(module, server.address, 5))


def test_without_a_server_it_neither_raises_nor_hangs(module):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        check(use(module, f"127.0.0.1:{free.getsockname()[1]}", 5))


def test_closing_what_was_never_read_does_no_harm(module):
    use(module, "127.0.0.1:1", 0)
