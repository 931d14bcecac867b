"""meshlb.testing as its users use it."""

import asyncio
import json
import time

import grpc
import pytest

from meshlb.errors import InvalidInputError
from meshlb.testing import Mesh, NodeSpec

IDEMPOTENT = (
    "grpc.service_config",
    json.dumps({"methodConfig": [{"name": [{}], "idempotent": True}]}),
)


def test_calls_reach_every_node_of_the_mesh():
    with Mesh(nodes=3) as mesh:
        echo = mesh.channel().unary_unary("/any.Service/Echo")
        answers = [echo(b"%d" % n, timeout=60) for n in range(60)]

        assert answers == [b"%d" % n for n in range(60)]
        while not all(node.calls for node in mesh.nodes):  # the last is connected a little later
            echo(b"", timeout=60)


def test_a_killed_node_is_avoided_and_comes_back_at_its_address(meshlb_mesh):
    mesh = meshlb_mesh(nodes=2)
    first, second = mesh.nodes
    # A call that begins before gRPC has seen its connection end breaks, as those in flight do.
    echo = mesh.channel([IDEMPOTENT]).unary_unary("/any.Service/Echo")
    echo(b"", timeout=60)
    address = first.address
    first.kill()
    before = len(second.calls)

    for _ in range(20):
        echo(b"", timeout=60)

    assert len(second.calls) == before + 20
    first.restart()
    assert first.address == address
    called = len(first.calls)
    while len(first.calls) == called:
        echo(b"", timeout=60)


def test_a_set_fault_is_what_the_caller_sees(meshlb_mesh):
    mesh = meshlb_mesh(nodes=1)
    mesh.nodes[0].faults.code = grpc.StatusCode.FAILED_PRECONDITION
    echo = mesh.channel().unary_unary("/any.Service/Echo")

    with pytest.raises(grpc.RpcError) as caught:
        echo(b"", timeout=60)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    mesh.nodes[0].faults.code = None
    assert echo(b"x", timeout=60) == b"x"


def test_a_stream_breaks_where_the_test_says(meshlb_mesh):
    mesh = meshlb_mesh(nodes=1)
    mesh.nodes[0].faults.break_after = 2
    both = mesh.channel().stream_stream("/any.Service/Echo")
    got = []

    def read_all():
        got.extend(both(iter([b"1", b"2", b"3"]), timeout=60))

    with pytest.raises(grpc.RpcError) as caught:
        read_all()

    assert got == [b"1", b"2"]
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_frozen_node_holds_calls_until_it_thaws(meshlb_mesh):
    mesh = meshlb_mesh(nodes=1)
    mesh.nodes[0].faults.frozen = True
    echo = mesh.channel().unary_unary("/any.Service/Echo")
    held = echo.future(b"x", timeout=60)
    while not mesh.nodes[0].calls:
        time.sleep(0.005)
    assert not held.done()

    mesh.nodes[0].faults.frozen = False

    assert held.result() == b"x"


def test_calls_go_on_without_the_controller(meshlb_mesh):
    mesh = meshlb_mesh(nodes=2)
    echo = mesh.channel().unary_unary("/any.Service/Echo")
    echo(b"", timeout=60)
    mesh.stop_controller()

    assert [echo(b"x", timeout=60) for _ in range(20)] == [b"x"] * 20
    mesh.start_controller()
    late = mesh.add_node()
    while not late.calls:
        echo(b"", timeout=60)


def test_a_drained_node_gets_no_new_calls_while_a_silent_one_does(meshlb_mesh):
    mesh = meshlb_mesh(nodes=2)
    drained, silent = mesh.nodes
    echo = mesh.channel().unary_unary("/any.Service/Echo")
    echo(b"", timeout=60)
    silent.silence()
    drained.drain()
    quiet = 0
    while quiet < 20:
        before = len(drained.calls)
        echo(b"", timeout=60)
        quiet = quiet + 1 if len(drained.calls) == before else 0

    assert silent.calls


def test_the_mesh_works_in_asyncio():
    async def run():
        async with Mesh(nodes=2) as mesh, mesh.aio_channel() as channel:
            echo = channel.unary_unary("/any.Service/Echo")
            while not all(node.calls for node in mesh.nodes):
                assert await asyncio.gather(*(echo(b"%d" % n, timeout=60) for n in range(20))) == [
                    b"%d" % n for n in range(20)
                ]
            return sum(len(node.calls) for node in mesh.nodes)

    assert asyncio.run(run()) % 20 == 0


def test_wrong_arguments_are_named():
    with pytest.raises(InvalidInputError, match="slots = 0: 1 or more"):
        NodeSpec(slots=0)
    with pytest.raises(InvalidInputError, match="nodes = -1: from 0 to 1000"):
        Mesh(nodes=-1)
