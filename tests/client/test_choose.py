"""Which nodes there are to pick from."""

import random

import pytest

from meshlb.client.node import LinkState, Node
from meshlb.client.routes import Routes
from meshlb.client.view import View, choose
from meshlb.model import Table, TableNode
from meshlb.policy.load import ClientLoad
from meshlb.policy.standing import OUTRUN_IN_A_ROW


def node(name, *, stalled):
    made = Node(TableNode(name, 1, f"{name}:1"), ClientLoad())
    made.link_state = LinkState.READY
    for _ in range(OUTRUN_IN_A_ROW if stalled else 0):
        made.standing.outrun(0, 1.0, random.Random(1))
    return made


@pytest.mark.parametrize(
    ("hanging", "chosen"),
    [("", "abcd"), ("a", "bcd"), ("ab", "cd"), ("abc", "abcd"), ("abcd", "abcd")],
)
def test_nodes_that_hang_are_left_alone_unless_they_are_most(hanging, chosen):
    known = [node(name, stalled=name in hanging) for name in "abcd"]
    assert "".join(one.info.node_id for one in choose(known)) == chosen


class Link:
    def connect(self):
        """Nobody does."""


def test_a_call_that_has_tried_all_in_order_goes_to_one_that_seems_out_of_order():
    routes = Routes("s", "me", lambda routes, node: Link())
    infos = tuple(TableNode(name, 1, f"{name}:1") for name in "ab")
    routes.apply_table(Table("s", "c", 1, 1, True, infos))
    a, b = routes.nodes.values()
    for one in (a, b):
        routes.link_changed(one, routes.link_of(one), LinkState.READY)
    for _ in range(OUTRUN_IN_A_ROW):
        routes.outrun(b, 1.0)
    view = View(routes)
    assert {view.begin(1.0) for _ in range(20)} == {a}
    assert view.choices == 2
    assert view.begin(1.0, (a,)) is b
    assert view.begin(1.0, (a, b)) is a
