"""From controller to controller: what a client takes of one that knows less, and when it leaves."""

import pytest

from meshlb.client.table_choice import refusal
from meshlb.model import Table, TableNode
from tests.client.test_subscription import open_to, table_of

NODE = TableNode("a", 1, "127.0.0.1:1")


def table(controller="c1", epoch=1, version=1, complete=True, nodes=(NODE,)):
    return Table("test", controller, epoch, version, complete, tuple(nodes))


def called(world):
    """A client of one node that has called it."""
    node = world.add_node()
    world.controller.push(node)
    channel, routes = open_to(world)
    echo = channel.unary_unary("/t.T/Echo")
    assert echo(b"1", timeout=60) == b"1"
    return node, channel, routes, echo


@pytest.mark.parametrize(
    ("current", "new", "connected", "told"),
    [
        (None, table(complete=False, nodes=()), 0, None),
        (table(), table(version=2), 1, None),
        (table(), table(), 1, None),
        (table(version=2), table(version=1), 1, "version 1 is older than 2"),
        (table(version=2), table(epoch=2), 1, None),
        (table(epoch=9), table(epoch=1), 1, None),  # its clock was set back
        (table(), table("c2"), 1, None),
        (table(), table("c2", complete=False), 0, "not complete yet"),
        (table(), table("c2", nodes=()), 1, "no nodes, while 1 of"),
        (table(), table(version=2, nodes=()), 3, "no nodes, while 3 of"),
        (table(), table("c2", nodes=()), 0, None),
        (table(), table("c2", complete=False, nodes=()), 0, "not complete yet"),
    ],
)
def test_what_a_client_takes_of_whom(current, new, connected, told):
    found = refusal(current, new, connected)
    assert found is None if told is None else told in found


def test_a_controller_without_sidecars_takes_no_node_from_its_clients(world):
    first, second = world.controller, world.add_controller("c2")
    node = world.add_node()
    first.push(node)
    second.push()
    channel, routes = open_to(world, first, second)
    echo = channel.unary_unary("/t.T/Echo")
    assert echo(b"1", timeout=60) == b"1"
    first.stop()
    world.until(lambda: second.acks)
    assert "no nodes, while 1 of" in second.acks[0].error
    assert table_of(routes)[0] == "c1"
    assert echo(b"1", timeout=60) == b"1"
    second.push(node)
    world.until(lambda: table_of(routes)[0] == "c2")


def test_a_table_without_nodes_is_taken_once_none_is_connected(world):
    node, _channel, routes, echo = called(world)
    world.controller.push(starting=True)
    world.until(lambda: len(world.controller.acks) == 2)
    assert table_of(routes) == ("c1", 1)
    node.stop()
    call = echo.future(b"1", timeout=60)  # waits for a node that starts, as the controller says
    world.until(lambda: table_of(routes) == ("c1", 2))
    world.controller.push(world.add_node("b"))
    assert call.result(60) == b"1"


def test_a_call_that_finds_the_last_nodes_gone_waits_as_a_table_without_nodes_says(world):
    node, channel, routes, echo = called(world)
    world.controller.push()
    world.until(lambda: len(world.controller.acks) == 2)
    world.lost(channel, node)
    call = echo.future(b"1", timeout=60)
    world.until(lambda: table_of(routes) == ("c1", 2))
    world.controller.push(world.add_node("b"))
    assert call.result(60) == b"1"


def test_what_is_held_of_a_controller_that_has_gone_is_forgotten(world):
    node, channel, routes, echo = called(world)
    world.controller.push()
    world.until(lambda: len(world.controller.acks) == 2)
    choice = channel._group._subscription._choice
    assert choice._held is not None
    world.controller.stop()
    world.until(lambda: choice._held is None)
    node.stop()
    node.start()
    assert echo(b"1", timeout=60, wait_for_ready=True) == b"1"
    assert table_of(routes) == ("c1", 1)


def test_a_controller_that_says_nothing_at_all_is_left_for_one_that_does(world, monkeypatch):
    monkeypatch.setattr("meshlb.client.subscription.SILENCE_S", 0.3)
    first, second = world.controller, world.add_controller("c2")
    node = world.add_node()
    second.push(node)
    channel, routes = open_to(world, first, second)  # the first never sends a table
    assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"
    assert table_of(routes) == ("c2", 1)
    assert first.subscribed


def test_a_controller_that_knows_no_node_is_left_while_calls_wait(world, monkeypatch):
    """One that sidecars cannot reach, asked by a client that is new."""
    monkeypatch.setattr("meshlb.client.subscription.SILENCE_S", 0.3)
    first, second = world.controller, world.add_controller("c2")
    first.push()
    second.push(world.add_node())
    channel, routes = open_to(world, first, second)
    assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"
    assert table_of(routes)[0] == "c2"


def test_the_only_controller_may_say_nothing_for_as_long_as_it_likes(world, monkeypatch):
    monkeypatch.setattr("meshlb.client.subscription.SILENCE_S", 0.05)
    _channel, routes = open_to(world)
    world.until(lambda: len(world.controller.reports) >= 3)
    assert len(world.controller.subscribed) == 1
    world.controller.push(world.add_node())
    world.until(lambda: table_of(routes) == ("c1", 1))
