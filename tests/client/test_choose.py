"""Which nodes there are to pick from."""

import random

import pytest

from meshlb.client.node import LinkState, Node
from meshlb.client.view import choose
from meshlb.model import TableNode
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
