"""Nodes that drain, and nodes with a limit: links, calls in flight, and where calls go."""

import dataclasses

import pytest

from meshlb.client.node import LinkState, Outcome
from meshlb.client.routes import Routes
from meshlb.model import NodeState, Table, TableNode


def push(world, **changes):
    """Send a table in which nodes differ from what they are: ``a={"state": ...}``."""
    nodes = (world.a, world.b)
    world.controller.push(*(dataclasses.replace(n.info, **changes.get(n.name, {})) for n in nodes))


def node(world, name="a"):
    return next(n for n in list(world.routes.nodes.values()) if n.info.node_id == name)


DRAINING = {"state": NodeState.DRAINING}


def test_the_idle_link_to_a_draining_node_closes_and_opens_again_when_it_is_given_back(mesh):
    echo = mesh.it.unary_unary("/t.T/Echo")
    echo(b"x", timeout=60)
    mesh.until(lambda: node(mesh).link is not None)

    push(mesh, a=DRAINING)

    mesh.until(lambda: node(mesh).info.state is NodeState.DRAINING)
    assert node(mesh).link is None
    mesh.a.calls.clear()
    for _ in range(10):
        echo(b"x", timeout=60)
    assert mesh.a.calls == []
    push(mesh)

    def served_again():
        echo(b"x", timeout=60)
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
    assert mesh.it.unary_unary("/t.T/Echo")(b"x", timeout=60) == b"x"


class Link:
    closed = 0

    def close(self):
        self.closed += 1

    close_soon = close


def table(version, *nodes):
    return Table("s", "c", 1, version, True, nodes)


@pytest.mark.parametrize("nodes", [(), (TableNode("a", 1, "h:1", state=NodeState.DRAINING),)])
def test_who_looked_before_a_newer_table_came_opens_no_link_that_nobody_would_close(nodes):
    routes = Routes("s", "me", lambda routes, node: Link())
    routes.apply_table(table(1, TableNode("a", 1, "h:1")))
    (seen,) = routes.nodes.values()
    routes.apply_table(table(2, *nodes))
    assert routes.link_of(seen) is None
    assert seen.link is None


def test_a_node_that_drains_and_then_leaves_is_let_go_of_once_its_last_call_ends():
    routes = Routes("s", "me", lambda routes, node: Link())
    routes.apply_table(table(1, TableNode("a", 1, "h:1")))
    (seen,) = routes.nodes.values()
    link = routes.link_of(seen)
    seen.load.in_flight = routes.client.in_flight = 1
    routes.apply_table(table(2, TableNode("a", 1, "h:1", state=NodeState.DRAINING)))
    routes.apply_table(table(3))
    assert link.closed == 0
    routes.end(seen, 0.1, Outcome.OK, 1.0)
    assert link.closed == 1


def test_what_a_link_tells_that_was_let_go_of_is_not_heard():
    routes = Routes("s", "me", lambda routes, node: Link())
    routes.apply_table(table(1, TableNode("a", 1, "h:1")))
    (seen,) = routes.nodes.values()
    link = routes.link_of(seen)
    routes.apply_table(table(2, TableNode("a", 1, "h:1", state=NodeState.DRAINING)))
    assert link.closed
    routes.link_changed(seen, link, LinkState.READY)
    assert seen.link_state is LinkState.IDLE


def test_counts_name_the_table_they_were_taken_under(mesh):
    mesh.it.unary_unary("/t.T/Echo")(b"x", timeout=60)
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
    echo(b"x", timeout=60)
    view, routes = channel._view, channel._group.routes
    mesh.until(lambda: routes.table.version >= 2)
    mesh.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
    begun = [view.begin(0.0) for _ in range(8)]
    assert sorted(n.info.node_id for n in begun) == ["a"] * 3 + ["b"] * 5
    over = view.begin(0.0)  # every node is full: the call goes on all the same
    assert over is not None
    for one in (*begun, over):
        routes.end(one, 0.0, Outcome.CANCELLED, 0.0)
