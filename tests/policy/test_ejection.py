"""Which nodes the controller takes from all clients, by time tables of what they tell.

Long because all rules are told on one fleet.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlb.model import CallReport, Health, NodeCalls, NodeState
from meshlb.policy.fleet import Fleet
from meshlb.policy.outlier import most_ejected
from meshlb.settings import ServiceSettings, Settings
from tests.policy.fleets import START, observe, report

TICK_S = 0.1
SILENT = "silent: its calls outlive what calls take"


class World:
    """A fleet whose sidecars and clients report at each tick."""

    def __init__(self, names, clients=("x", "y", "z"), **of_service):
        self.fleet = Fleet(Settings(default=ServiceSettings(**of_service)), "c", 1, START)
        self.names, self.clients = names, list(clients)
        self.now = START
        self.sequence = 0
        self.health = dict.fromkeys(names, Health.SERVING)
        self.calls = {c: {n: [0, 0] for n in names} for c in clients}
        self.suspicions = {c: {} for c in clients}
        self.changes = []
        self.weights = {}
        for client in clients:
            self.fleet.subscribe("s", client, self.now)
        self.tick()

    def end(self, client, name, good=0, failed=0):
        self.calls[client][name][0] += good
        self.calls[client][name][1] += failed

    def end_well(self, *names, calls=1):
        for client in self.clients:
            for name in names:
                self.end(client, name, good=calls)

    def tick(self, ticks=1, silent=()):
        for _ in range(ticks):
            self.now += TICK_S
            self.sequence += 1
            for name in self.names:
                observe(
                    self.fleet, report(name, health=self.health[name]), self.now, f"stream {name}"
                )
            for client in self.clients:
                if client in silent:
                    continue
                nodes = tuple(
                    NodeCalls(
                        name, 1, good + failed, good, failed, 0, self.sequence * TICK_S,
                        self.suspicions[client].get(name, ""),
                    )
                    for name, (good, failed) in self.calls[client].items()
                )  # fmt: skip
                self.fleet.observe_calls(CallReport("s", client, self.sequence, nodes), self.now)
            self.changes += self.fleet.decide(self.now).changes

    @property
    def states(self):
        return self.fleet.services["s"].states

    @property
    def ejected(self):
        return "".join(n for n, (state, _) in self.states.items() if state is NodeState.EJECTED)


class TestFailuresInARow:
    def test_of_all_clients_together_eject_a_node_for_ten_seconds_and_say_why(self):
        world = World("abcd")
        for client in "xyz":
            world.end(client, "a", failed=3)
        world.end_well("b", "c", "d")
        world.tick()
        assert world.ejected == ""
        world.end("x", "a", failed=1)
        world.tick()
        assert world.states["a"] == (
            NodeState.EJECTED, "10 calls of all clients failed in a row",
        )  # fmt: skip
        assert world.changes[-1].after is NodeState.EJECTED

        world.tick(98)
        assert world.ejected == "a"
        world.tick(3)
        assert world.ejected == ""
        assert world.changes[-1].before is NodeState.EJECTED

    def test_one_good_call_of_anybody_begins_anew(self):
        world = World("abcd")
        for _ in range(20):
            world.end("x", "a", failed=4)
            world.tick()
            world.end("y", "a", good=1)
            world.tick()
        assert world.ejected == ""

    def test_each_time_it_is_ejected_for_twice_as_long(self):
        world = World("abcd", eject_base_s=1, eject_max_s=5)
        spans = []
        for _ in range(4):
            world.end("x", "a", failed=10)
            world.tick()
            ticks = 0
            while world.ejected:
                world.tick()
                ticks += 1
            spans.append(ticks * TICK_S)
        assert spans == pytest.approx([1, 2, 4, 5], abs=0.15)

    def test_after_calm_times_it_is_short_again(self):
        world = World("abcd", eject_base_s=1, eject_max_s=4)
        for _ in range(3):
            world.end("x", "a", failed=10)
            world.tick(45)
        world.tick(150)
        world.end("x", "a", failed=10)
        world.tick(12)
        assert world.ejected == ""

    def test_for_however_long_a_node_fails(self):
        world = World("abcd", eject_base_s=0.1, eject_max_s=0.2)
        for _ in range(20):
            world.end("x", "a", failed=10)
            world.tick(3)
        world.fleet.services["s"].nodes["a"].outcomes.times = 5000
        for _ in range(20):
            world.end("x", "a", failed=10)
            world.tick(3)
        assert world.fleet.services["s"].nodes["a"].outcomes.times > 5000

    def test_it_returns_with_a_tenth_of_its_weight(self):
        world = World("abcd", eject_base_s=1, slow_start_s=10)
        world.end("x", "a", failed=10)
        world.tick(13)
        weights = {n.node_id: n.weight for n in world.fleet.services["s"].table.nodes}
        assert weights["a"] < 0.3 * weights["b"]

    def test_zero_switches_it_off(self):
        world = World("abcd", eject_after_failures=0, eject_least_calls=10_000)
        world.end("x", "a", failed=5_000)
        world.tick(200)
        assert world.ejected == ""


def test_a_part_that_fails_ejects_when_an_interval_is_over():
    world = World("abcdef", eject_interval_s=2)
    for tick in range(30):
        world.end_well("b", "c", "d", "e", "f", calls=3)
        world.end("x", "a", good=1 + tick % 2, failed=3)
        world.tick()
    assert world.ejected == "a"
    assert "calls failed, of the other nodes 0%" in world.states["a"][1]


def test_a_failing_node_has_less_weight_before_that():
    world = World("abcd", eject_after_failures=0, eject_failing=1, eject_deviations=0)
    for _ in range(50):
        world.end_well("b", "c", "d", calls=3)
        world.end("x", "a", good=1, failed=1)
        world.tick()
    weights = {n.node_id: n.weight for n in world.fleet.services["s"].table.nodes}
    assert world.ejected == ""
    assert weights["a"] < 0.3 * weights["b"]


class TestSuspicions:
    def suspect(self, world, name, clients):
        for client in world.clients:
            world.suspicions[client] = {name: SILENT} if client in clients else {}

    def test_of_most_callers_eject_a_node_while_nobody_is_answered_there(self):
        world = World("abcd")
        world.end_well(*"abcd")
        world.tick()
        self.suspect(world, "a", "xy")
        world.tick(4)
        assert world.ejected == ""  # someone may still be answered
        world.tick(4)
        assert world.ejected == "a"
        assert world.states["a"][1] == f"2 clients leave it alone: {SILENT}"
        self.suspect(world, "a", "")
        world.tick()
        assert world.ejected == ""

    def test_of_one_client_alone_do_not(self):
        world = World("abcd")
        self.suspect(world, "a", "x")
        world.tick(30)
        assert world.ejected == ""

    def test_do_not_while_others_are_answered_there(self):
        world = World("abcd")
        self.suspect(world, "a", "xy")
        for _ in range(30):
            world.end("z", "a", good=1)
            world.tick()
        assert world.ejected == ""

    def test_of_few_callers_among_many_do_not(self):
        world = World("abcd", clients="pqrstuvw")
        self.suspect(world, "a", "pq")
        world.tick(30)
        assert world.ejected == ""

    def test_of_clients_that_fell_silent_are_dropped(self):
        world = World("abcd", clients="xyz")
        self.suspect(world, "a", "xy")
        world.tick(10)
        assert world.ejected == "a"
        world.tick(60, silent="xy")
        assert world.ejected == ""


class TestRestraint:
    def test_at_most_a_part_and_one_of_two(self):
        two, ten = World("ab"), World("abcdefghij")
        for name in "abcde":
            ten.end("x", name, failed=10)
        ten.tick(5)
        assert len(ten.ejected) == 3
        for name in "ab":
            two.end("x", name, failed=10)
            two.tick(5)
        assert len(two.ejected) == 1

    def test_what_fails_everywhere_ejects_nobody(self):
        for good in (0, 90):
            world = World("abcdefghij", eject_interval_s=1)
            for _ in range(50):
                for name in world.names:
                    for client in world.clients:
                        world.end(client, name, good=good, failed=10)
                world.tick()
                assert world.ejected == ""

    def test_one_clients_bad_calls_eject_nobody_whom_others_call_well(self):
        world = World("abcd")
        for _ in range(50):
            for client in "yz":  # told before x tells, so that the last word is always a bad one
                world.end(client, "a", good=2)
                world.end_well("b", "c", "d")
            world.end("x", "a", failed=20)
            world.clients.sort(reverse=True)
            world.tick()
            assert world.ejected == ""

    def test_a_single_node_is_never_ejected(self):
        world = World("a")
        world.end("x", "a", failed=100)
        world.tick(5)
        assert world.ejected == ""

    def test_nobody_where_too_few_would_be_left(self):
        world = World("abcd", eject_most=1.0)
        world.health["a"] = world.health["b"] = Health.NOT_SERVING
        world.tick()
        world.end("x", "c", failed=10)
        world.tick(5)
        assert world.ejected == ""

    def test_all_come_back_when_too_few_are_left(self):
        world = World("abcd", eject_most=1.0)
        world.end("x", "a", failed=10)
        world.end("x", "b", failed=10)
        world.tick()
        assert world.ejected == "ab"
        world.health["c"] = Health.NOT_SERVING
        world.tick(2)
        assert world.ejected == ""

    def test_a_controller_that_does_not_hear_most_clients_ejects_nobody(self):
        world = World("abcd", clients="xyzuv")
        world.tick(60, silent="xyz")
        world.end("u", "a", failed=50)
        world.tick(20, silent="xyz")
        assert world.ejected == ""

    def test_a_withdrawn_node_stays_withdrawn(self):
        world = World("abcd")
        world.fleet.drain("s", "a", "maintenance")
        world.end("x", "a", failed=10)
        world.tick(2)
        assert world.states["a"][0] is NodeState.DRAINING


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    nodes=st.integers(1, 9),
    most=st.floats(0, 1),
    panic=st.floats(0, 1),
)
def test_whatever_fails_the_cap_holds_the_innocent_stay_and_all_come_back(seed, nodes, most, panic):
    rng = random.Random(seed)
    names = "abcdefghi"[:nodes]
    innocent = rng.choice(names)
    world = World(
        names, clients="xy", eject_most=most, eject_panic=panic, eject_base_s=1, eject_max_s=3,
        eject_interval_s=1, eject_least_calls=5, eject_after_failures=4,
    )  # fmt: skip
    for _ in range(60):
        for name in names:
            if name != innocent:
                world.end("x", name, good=rng.randrange(2), failed=rng.randrange(4))
                world.suspicions["x"][name] = world.suspicions["y"][name] = rng.choice(("", SILENT))
            world.end("y", innocent, good=rng.randrange(2))
        world.tick()
        assert innocent not in world.ejected
        assert len(world.ejected) <= most_ejected(nodes, most)
        assert not world.ejected or nodes - len(world.ejected) >= panic * nodes
    world.suspicions = {"x": {}, "y": {}}
    for _ in range(40):
        world.end_well(*names)
        world.tick()
    assert world.ejected == ""
