"""Who comes in where calls are limited; times are given, nobody waits."""

import grpc
import pytest

from meshlb.client.gate import class_of
from meshlb.client.routes import Routes
from meshlb.model import CallLimits, LoadShare, NodeState, Priority, Table, TableNode

CLASSES = (Priority("high", 0.0), Priority("default", 0.0), Priority("low", 0.0))


def routes_with(**of):
    routes = Routes("s", "me", lambda routes, node: None)
    routes.apply_table(table(**of))
    return routes


def table(nodes=1, lifted=False, **of):
    limits = {"in_flight": 2, "per_node": None, "waiting": 9, **of}
    return Table(
        "s", "c", 1, 1, True,
        tuple(TableNode(f"n{n}", 1, f"10.0.0.{n}:80") for n in range(nodes)),
        limits=None if lifted else CallLimits(**limits),
    )  # fmt: skip


class Calls:
    """Calls that come to one gate."""

    def __init__(self, routes):
        self.routes = routes
        self.told = []

    def come(self, kind="default", deadline=None, now=0.0):
        ticket = self.routes.gate.enter(kind, deadline, now, self.told.append)
        assert ticket not in self.told
        return ticket

    def come_in(self, count, kind="default"):
        tickets = [self.come(kind) for _ in range(count)]
        assert all(one.inside and not one.waits for one in tickets)
        return tickets


def test_who_finds_no_room_waits_and_is_let_in_by_whoever_leaves():
    calls = Calls(routes_with())
    first, second = calls.come_in(2)
    third, fourth = calls.come(), calls.come()
    assert (third.inside, third.waits, third.refusal) == (False, True, None)
    assert calls.routes.waiting == 2
    first.leave(1.0)
    first.leave(1.0)
    assert calls.told == [third]
    fourth.leave(1.0)
    second.leave(1.0)
    assert calls.told == [third]
    assert calls.routes.waiting == 0
    third.leave(2.0)
    calls.come_in(2)


def test_higher_classes_come_in_first_and_each_in_order():
    calls = Calls(routes_with(in_flight=1, priorities=CLASSES))
    inside = calls.come_in(1)[0]
    came = [calls.come(kind) for kind in ("low", "default", "high", "no such", "high")]
    order = []
    for _ in came:
        inside.leave(1.0)
        inside = calls.told[-1]
        order.append(came.index(inside))
    assert order == [2, 4, 1, 3, 0]


def test_a_floor_is_left_free_for_its_class():
    floors = (Priority("critical", 0.5), Priority("default", 0.0))
    calls = Calls(routes_with(in_flight=4, priorities=floors))
    calls.come_in(2)
    assert calls.come().waits
    calls.come_in(2, "critical")
    assert calls.come("critical").waits


def test_what_is_more_than_may_wait_is_shed_and_says_why():
    calls = Calls(routes_with(waiting=1))
    calls.come_in(2)
    calls.come()
    shed = calls.come()
    assert (shed.inside, shed.waits) == (False, False)
    assert "service 's' has max_in_flight = 2, of which this client may have 2" in shed.refusal
    assert "1 calls wait, of at most max_waiting = 1" in shed.refusal
    shed.leave(1.0)
    assert calls.routes.waiting == 1


def test_shed_calls_are_logged_now_and_then(caplog):
    calls = Calls(routes_with(waiting=0))
    calls.come_in(2)
    for at in (0.0, 1.0, 2.0, 30.0):
        calls.come(now=at)
    told = [one.getMessage() for one in caplog.records]
    assert [text.partition(" since")[0] for text in told] == [
        "a call was shed, one of 1",
        "a call was shed, one of 3",
    ]
    assert "max_in_flight = 2" in told[0]


def test_the_least_important_loses_its_place_to_one_that_is_more_so():
    calls = Calls(routes_with(waiting=2, priorities=CLASSES))
    calls.come_in(2)
    low, later = calls.come("low"), calls.come("low")
    high = calls.come("high")
    assert calls.told == [later]
    assert "no room" in later.refusal
    assert not high.refusal
    assert not low.refusal
    assert calls.come("low").refusal
    assert calls.routes.waiting == 2


def test_who_would_wait_past_its_deadline_is_shed_at_once():
    calls = Calls(routes_with(in_flight=1, waiting=99))
    inside = calls.come_in(1)[0]
    for second in range(10):  # one ends each second, and ten wait
        calls.come(now=float(second))
    for second in range(10):
        inside.leave(float(second))
        inside = calls.told[-1]
        calls.come(now=float(second))
    assert calls.come(deadline=9.0 + 100, now=9.0).waits
    shed = calls.come(deadline=9.0 + 5, now=9.0)
    assert "has 5 s left" in shed.refusal


def test_a_client_has_the_part_that_the_controller_gives_it():
    routes = routes_with(in_flight=100, clients=4)
    assert routes.gate.limit == 25, "an equal part, while it was not told another"
    routes.apply_share(LoadShare(0.5, {}, 0, 1.0, admitted=40.7), 0.0)
    assert routes.gate.limit == 40
    routes.apply_share(LoadShare(0.5, {}, 0, 1.0, admitted=0.2), 0.0)
    assert routes.gate.limit == 1, "one at the least"
    routes.apply_share(LoadShare(0.5, {}, 0, 1.0, admitted=1e9), 0.0)
    assert routes.gate.limit == 100


def test_more_room_lets_in_who_waits():
    routes = routes_with(in_flight=None, per_node=1)
    calls = Calls(routes)
    calls.come_in(1)
    second, third = calls.come(), calls.come()
    routes.apply_table(table(nodes=2, in_flight=None, per_node=1))
    assert calls.told == [second]
    routes.apply_table(table(lifted=True))
    assert calls.told == [second, third]
    assert routes.gate is None


def test_nodes_that_take_no_calls_give_no_room():
    routes = Routes("s", "me", lambda routes, node: None)
    nodes = (
        TableNode("a", 1, "10.0.0.1:80"),
        TableNode("b", 1, "10.0.0.2:80", state=NodeState.DRAINING),
        TableNode("c", 1, "10.0.0.3:80", state=NodeState.UNHEALTHY),
    )
    routes.apply_table(Table("s", "c", 1, 1, True, nodes, limits=CallLimits(None, 3, 0)))
    assert routes.gate.limit == 3


def test_who_waits_when_all_is_closed_is_let_go():
    calls = Calls(routes_with())
    calls.come_in(2)
    third = calls.come()
    calls.routes.close()
    assert calls.told == [third]


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        (None, "usual"),
        ((("a", "b"),), "usual"),
        ((("a", "b"), ("meshlb-priority", "high")), "high"),
        ([("meshlb-priority", "high")], "high"),
        (grpc.aio.Metadata(("meshlb-priority", "high")), "high"),
        (iter([("meshlb-priority", "high")]), "usual"),
    ],
)
def test_a_call_names_its_class_in_its_metadata(metadata, kind):
    assert class_of(metadata, "usual") == kind
