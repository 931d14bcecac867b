"""Replicas and a target, and the steps between them."""

import dataclasses

import pytest

from meshlb.actuators import Capabilities
from meshlb.policy.drain import DrainView, state
from meshlb.policy.reconcile import NodeView, Plan, plan
from meshlb.scale_model import Replica, ReplicaState, ScalePolicy

NOW = 1.7e9
FULL = Capabilities(starts=True, chooses_victim=True)
POLICY = ScalePolicy("s", start_limit_s=600.0)


def replica(name, state=ReplicaState.READY, age=100.0):
    return Replica(name, f"n-{name}", state, NOW - age)


def node(in_flight=0.0, age=100.0, withdrawn=None, **more):
    since = None if withdrawn is None else NOW - withdrawn
    return NodeView(in_flight, NOW - age, withdrawn_since=since, **more)


def steps(target, replicas, nodes=None, policy=POLICY, capabilities=FULL):
    if nodes is None:
        nodes = {r.node_id: node() for r in replicas if r.state is ReplicaState.READY}
    return plan(target, replicas, nodes, capabilities, NOW, policy)


class TestStart:
    def test_what_is_missing_is_started(self):
        found = steps(3, [replica("a")])
        assert found == Plan(start=2, reasons=("start 2: 1 of 3 are there",))

    def test_what_starts_already_is_not_started_again(self):
        replicas = [replica("a"), replica("b", ReplicaState.STARTING, 5)]
        assert steps(2, replicas) == Plan()

    def test_a_start_that_takes_too_long_is_given_up_and_replaced(self):
        found = steps(1, [replica("a", ReplicaState.STARTING, 601)], {})
        assert (found.start, found.stop) == (1, ("a",))
        assert found.problem == "a is not healthy after 600 s"

    def test_nodes_that_somebody_else_started_count(self):
        assert steps(2, [replica("a")], {"n-a": node(), "other": node()}) == Plan()

    def test_a_ready_replica_that_has_not_reported_yet_counts(self):
        assert steps(1, [replica("a")], {}) == Plan()

    def test_an_actuator_that_only_publishes_gets_no_orders(self):
        published = Capabilities(starts=False, chooses_victim=False)
        assert steps(5, [], capabilities=published) == Plan()

    def test_one_that_chooses_itself_gets_no_victims(self):
        counted = Capabilities(starts=True, chooses_victim=False)
        assert steps(1, [replica("a"), replica("b")], capabilities=counted) == Plan()


class TestLost:
    def lost(self, *ages):
        return [replica(f"l{i}", ReplicaState.LOST, age) for i, age in enumerate(ages)]

    def test_it_is_replaced_at_once(self):
        assert steps(2, [replica("a"), *self.lost(0.0)]).start == 1

    def test_its_node_is_no_capacity_even_if_it_is_remembered(self):
        replicas = self.lost(0.0)
        assert steps(1, replicas, {"n-l0": node(in_flight=3)}).start == 1

    @pytest.mark.parametrize(
        ("ages", "start"),
        [
            ((0.5, 9), 0),
            ((1.1, 9), 1),
            ((3, 8, 9, 20), 0),
            ((5, 8, 9, 20), 1),
            ((601, 602, 603), 1),
        ],
    )
    def test_after_more_losses_starts_wait_longer(self, ages, start):
        assert steps(1, self.lost(*ages)).start == start

    def test_the_wait_is_a_minute_at_the_most_and_is_told(self):
        found = steps(1, self.lost(*[10.0] * 40))
        assert found.start == 0
        assert found.problem == "40 replicas were lost within 10 min: next start in 50 s"


class TestVictims:
    def test_the_least_in_flight_is_withdrawn_not_stopped(self):
        nodes = {"n-a": node(5.0), "n-b": node(2.0), "n-c": node(9.0)}
        found = steps(2, [replica("a"), replica("b"), replica("c")], nodes)
        assert (found.withdraw, found.stop) == (("n-b",), ())
        assert found.reasons == ("withdraw n-b: 2 in flight, least of all",)

    def test_of_equals_the_newest(self):
        nodes = {"n-a": node(1.0, age=10), "n-b": node(1.0, age=5), "n-c": node(1.0, age=50)}
        assert steps(1, [replica("a"), replica("b"), replica("c")], nodes).withdraw == (
            "n-b",
            "n-a",
        )

    def test_starting_ones_go_first_newest_first_and_are_withdrawn_before_they_join(self):
        replicas = [
            replica("a"),
            replica("b", ReplicaState.STARTING, 50),
            replica("c", ReplicaState.STARTING, 5),
        ]
        found = steps(1, replicas, {"n-a": node()})
        assert (found.withdraw, found.stop) == (("n-c", "n-b"), ())
        assert steps(2, replicas, {"n-a": node()}).withdraw == ("n-c",)
        ordered = {"n-a": node(), "n-c": node(withdrawn=0.0, drained=True)}
        assert steps(2, replicas, ordered).stop == ("c",)
        assert steps(3, replicas, ordered).restore == ("n-c",)

    def test_a_starting_one_without_a_name_for_its_node_is_stopped_at_once(self):
        nameless = dataclasses.replace(replica("b", ReplicaState.STARTING, 5), node_id="")
        assert steps(1, [replica("a"), nameless], {"n-a": node()}).stop == ("b",)

    def test_one_that_starts_and_is_called_already_is_drained_first(self):
        replicas = [replica("a"), replica("b", ReplicaState.STARTING, 5)]
        joined = {"n-a": node(1.0), "n-b": node(3.0)}
        assert steps(1, replicas, joined) == Plan(
            withdraw=("n-b",), reasons=("withdraw n-b: it still starts, and is not needed",)
        )
        joined["n-b"] = node(3.0, withdrawn=1.0)
        assert steps(1, replicas, joined) == Plan()
        late = [replica("a"), replica("b", ReplicaState.STARTING, 601)]
        assert steps(2, late, {"n-a": node(), "n-b": node()}) == Plan()

    def test_a_starting_one_whose_node_has_joined_is_withdrawn_since_it_may_have_calls(self):
        replicas = [replica("a"), replica("b", ReplicaState.STARTING, 5)]
        nodes = {"n-a": node(9.0), "n-b": node(2.0)}
        found = steps(1, replicas, nodes)
        assert (found.withdraw, found.stop) == (("n-b",), ())
        nodes["n-b"] = node(2.0, withdrawn=1.0)
        assert steps(1, replicas, nodes) == Plan()
        assert steps(2, replicas, nodes).restore == ("n-b",)
        nodes["n-b"] = node(withdrawn=1.0, drained=True)
        assert steps(1, replicas, nodes).stop == ("b",)

    def test_lost_ones_count_for_nothing_so_that_nothing_else_goes(self):
        replicas = [replica("a"), replica("b", ReplicaState.LOST, 5)]
        assert steps(1, replicas) == Plan()

    def test_foreign_nodes_are_never_victims(self):
        found = steps(0, [replica("a")], {"n-a": node(9.0), "other": node(0.0)})
        assert found.withdraw == ("n-a",)


class TestDraining:
    def going(self, **more):
        return {"n-a": node(), "n-b": node(**({"withdrawn": 30.0, "in_flight": 2.0} | more))}

    pair = (replica("a"), replica("b"))

    def test_it_waits_for_the_last_call(self):
        assert steps(1, self.pair, self.going()) == Plan()

    def test_then_it_stops(self):
        found = steps(1, self.pair, self.going(drained=True))
        assert (found.stop, found.reasons) == (("b",), ("stop b: drained",))

    def test_one_whose_node_is_forgotten_stops(self):
        replicas = [replica("a"), replica("b", ReplicaState.DRAINING)]
        assert steps(1, replicas, {"n-a": node()}).stop == ("b",)

    def test_one_that_stops_is_not_told_again(self):
        replicas = [replica("a"), replica("b", ReplicaState.STOPPING)]
        assert steps(1, replicas, self.going(drained=True)) == Plan()

    def test_a_limit_can_be_set_and_there_is_none_by_default(self):
        for_ever = self.going(withdrawn=1e6, waiting_for="2 calls in flight")
        assert steps(1, self.pair, for_ever) == Plan()
        limited = dataclasses.replace(POLICY, drain_limit_s=60.0)
        assert steps(1, self.pair, self.going(), limited) == Plan()
        found = steps(1, self.pair, for_ever, limited)
        assert found.stop == ("b",)
        assert found.reasons == ("stop b: drain limit of 60 s; waited for 2 calls in flight",)

    def test_it_is_restored_when_load_returns_before_anything_is_started(self):
        found = steps(3, self.pair, self.going())
        assert (found.restore, found.start, found.stop) == (("n-b",), 1, ())

    def test_the_busiest_is_restored_first_and_no_more_than_needed(self):
        nodes = {
            "n-a": node(),
            "n-b": node(1.0, withdrawn=5.0),
            "n-c": node(4.0, withdrawn=5.0),
            "n-d": node(0.0, withdrawn=5.0, drained=True),
        }
        replicas = [replica(name) for name in "abcd"]
        found = steps(2, replicas, nodes)
        assert (found.restore, found.start) == (("n-c",), 0)
        assert found.stop == ("d",)

    def test_one_withdrawn_by_hand_is_replaced_and_left_alone(self):
        found = steps(2, self.pair, self.going(by_operator=True, drained=True))
        assert (found.start, found.restore, found.stop) == (1, (), ())


class TestDrained:
    ready = DrainView(withdrawn=True, acknowledged=3, clients=3, in_flight=0.0, server_in_flight=0)

    def waits(self, **more):
        return state(dataclasses.replace(self.ready, **more)).waiting_for

    def test_nothing_left(self):
        assert state(self.ready).drained

    @pytest.mark.parametrize(
        ("more", "waiting_for"),
        [
            ({"withdrawn": False}, "a table without it"),
            ({"acknowledged": 1}, "2 clients of 3 to apply a table without it"),
            ({"in_flight": 1.0}, "1 call in flight"),
            ({"server_in_flight": 4}, "4 calls in flight"),
            ({"server_in_flight": None, "connections": 2}, "2 connections of clients to close"),
            ({"server_in_flight": None, "awaited": True}, "its sidecar to tell of connections"),
            ({"held_up": True}, "clients to tell of their calls: the controller was held up"),
        ],
    )
    def test_what_it_waits_for(self, more, waiting_for):
        assert self.waits(**more) == waiting_for
        assert not state(dataclasses.replace(self.ready, **more)).drained

    def test_a_server_that_counts_is_believed_over_its_connections(self):
        assert self.waits(server_in_flight=0, connections=2) == ""

    def test_what_fades_out_smoothly_is_no_call(self):
        assert self.waits(in_flight=0.2) == ""
