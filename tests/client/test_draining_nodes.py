"""Nodes that drain, and nodes with a limit: links, calls in flight, and where calls go."""

import dataclasses

import pytest

from meshlb.client.node import Outcome
from meshlb.model import NodeState


def push(world, **changes):
    """Send a table in which nodes differ from what they are: ``a={"state": ...}``."""
    nodes = (world.a, world.b)
    world.controller.push(*(dataclasses.replace(n.info, **changes.get(n.name, {})) for n in nodes))


def node(world, name="a"):
    return next(n for n in list(world.routes.nodes.values()) if n.info.node_id == name)


DRAINING = {"state": NodeState.DRAINING}


def test_the_idle_link_to_a_draining_node_closes_and_opens_again_when_it_is_given_back(mesh):
    echo = mesh.it.unary_unary("/t.T/Echo")
    echo(b"x", timeout=10)
    mesh.until(lambda: node(mesh).link is not None)

    push(mesh, a=DRAINING)

    mesh.until(lambda: node(mesh).info.state is NodeState.DRAINING)
    assert node(mesh).link is None
    mesh.a.calls.clear()
    for _ in range(10):
        echo(b"x", timeout=10)
    assert mesh.a.calls == []
    push(mesh)

    def served_again():
        echo(b"x", timeout=10)
        return mesh.a.calls

    mesh.until(served_again)


def test_the_last_call_at_a_draining_node_ends_whole_and_then_its_link_closes(mesh):
    mesh.b.stop()
    mesh.a.gate.clear()
    push(mesh, b=DRAINING)
    mesh.until(lambda: mesh.routes.table is None or mesh.routes.table.version >= 2)
    streams = [mesh.it.unary_stream("/t.T/Count")(b"5", timeout=30) for _ in range(3)]
    mesh.until(lambda: len(mesh.a.calls) == 3)
    mesh.b.start()

    push(mesh, a=DRAINING)
    mesh.until(lambda: node(mesh).info.state is NodeState.DRAINING)
    assert node(mesh).link is not None
    mesh.a.gate.set()

    assert [len(list(stream)) for stream in streams] == [5, 5, 5]
    mesh.until(lambda: node(mesh).link is None)
    assert mesh.it.unary_unary("/t.T/Echo")(b"x", timeout=10) == b"x"


def test_counts_name_the_table_they_were_taken_under(mesh):
    mesh.it.unary_unary("/t.T/Echo")(b"x", timeout=10)
    push(mesh, a=DRAINING)

    mesh.until(
        lambda: (
            mesh.controller.reports
            and mesh.controller.reports[-1].applied == (mesh.controller.epoch, 2)
        )
    )


@pytest.mark.parametrize("picker", ["random", "round_robin", "expected_delay"])
def test_a_node_at_its_limit_is_passed_over_while_another_has_room(mesh, picker):
    push(mesh, a={"limit": 3}, b={"limit": 5})
    channel = mesh.channel(options=[("meshlb.picker", picker)])
    echo = channel.unary_unary("/t.T/Echo")
    echo(b"x", timeout=10)
    view, routes = channel._view, channel._group.routes
    mesh.until(lambda: routes.table.version >= 2)
    mesh.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
    begun = [view.begin(0.0) for _ in range(8)]
    assert sorted(n.info.node_id for n in begun) == ["a"] * 3 + ["b"] * 5
    over = view.begin(0.0)  # every node is full: the call goes on all the same
    assert over is not None
    for one in (*begun, over):
        routes.end(one, 0.0, Outcome.CANCELLED, 0.0)
