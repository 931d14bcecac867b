"""What a fleet tells its clients: tables, shares, counts, and how often.

Long because all of these are one plan, told at one tick.
"""

import dataclasses
import itertools
import random

import pytest

from meshlb.model import (
    CallReport,
    NodeCalls,
)
from meshlb.policy.fleet import Fleet
from meshlb.settings import ControllerSettings, Settings
from tests.policy.fleets import START, fleet, observe, report


class TestTables:
    def test_membership_is_published_at_once_and_nothing_twice(self):
        made = fleet()
        observe(made, report("a"), START)
        assert [n.node_id for n in made.decide(START).tables["s"].nodes] == ["a"]
        assert made.decide(START + 0.1).tables == {}

        observe(made, report("b"), START + 0.2, "two")
        assert [n.node_id for n in made.decide(START + 0.2).tables["s"].nodes] == ["a", "b"]

    def test_a_count_in_flight_alone_makes_no_table(self):
        made = fleet()
        observe(made, report("a"), START)
        made.decide(START)
        made.subscribe("s", "client", START)
        for tick in range(1, 25):
            now = START + tick / 10
            calls = CallReport("s", "client", tick, (NodeCalls("a", tick),))
            made.observe_calls(calls, now)
            observe(made, report("a", in_flight=tick), now)
            assert (tick, made.decide(now).tables) == (tick, {})

    def test_a_learned_speed_is_published_but_not_more_often_than_the_interval(self):
        made = fleet(publish_interval_s=0.5)
        observe(made, report("a"), START + 10)
        made.decide(START + 10)
        made.subscribe("s", "client", START + 10)
        published = []
        for tick in range(1, 60):
            now = START + 10 + tick / 10
            done = tick * 5
            calls = NodeCalls("a", 2, done, done, in_flight_time_s=done * 0.04)
            made.observe_calls(CallReport("s", "client", tick, (calls,)), now)
            observe(made, report("a"), now)
            if made.decide(now).tables:
                published.append(round(now - START - 10, 1))

        curve = made.services["s"].table.nodes[0].curve
        assert curve is not None
        assert curve.latency_s(1) == pytest.approx(0.04, rel=0.1)
        assert 1 <= len(published) <= 5
        assert all(b - a >= 0.5 for a, b in itertools.pairwise(published))

    def test_a_large_fleet_is_weighed_less_often_but_a_node_that_comes_is_told_at_once(self):
        controller = ControllerSettings(weighed_per_s=2.0)
        made = Fleet(Settings(controller=controller), "controller", 1, START)
        for name in ("a", "b", "c", "d"):
            observe(made, report(name), START + 1, name)
        made.decide(START + 1)
        made.subscribe("s", "client", START + 1)
        published = []
        for tick in range(1, 100):
            now = START + 1 + tick / 10
            # a's calls take longer and longer, so that its speed moves at all times
            calls = NodeCalls("a", 2, 5 * tick, 5 * tick, in_flight_time_s=0.004 * tick**2)
            made.observe_calls(CallReport("s", "client", tick, (calls,)), now)
            for name in ("a", "b", "c", "d"):
                observe(made, report(name), now, name)
            if made.decide(now).tables:
                published.append(round(now - START - 1, 1))
        assert len(published) >= 3
        assert all(b - a >= 2.0 for a, b in itertools.pairwise(published))

        observe(made, report("e"), START + 20, "e")
        assert len(made.decide(START + 20).tables["s"].nodes) == 5

    def test_a_controller_that_has_just_started_says_nothing_rather_than_no_nodes(self):
        made = fleet()
        made.subscribe("s", "client", START)
        assert made.decide(START + 1).tables == {}
        assert made.table_of("s", "client") is None

        late = made.decide(START + 4).tables["s"]
        assert (late.complete, late.nodes) == (True, ())

    def test_tables_become_complete_after_the_grace(self):
        made = fleet()
        observe(made, report("a"), START)
        assert made.decide(START).tables["s"].complete is False

        observe(made, report("a"), START + 3)
        table = made.decide(START + 3).tables["s"]
        assert (table.complete, table.version) == (True, 2)

    def test_above_the_subset_size_clients_get_stable_parts_that_cover_all(self):
        made = fleet(subset_size=8)
        for number in range(40):
            observe(made, report(f"n{number}"), START, f"stream {number}")
        for number in range(20):
            made.subscribe("s", f"client {number}", START)
        made.decide(START)
        parts = [
            {n.node_id for n in made.table_of("s", f"client {number}").nodes}
            for number in range(20)
        ]

        assert all(len(part) == 8 for part in parts)
        assert len(set.union(*parts)) == 40
        assert {n.node_id for n in made.table_of("s", "client 3").nodes} == parts[3]

    def test_a_new_node_among_others_starts_slowly(self):
        made = fleet(slow_start_s=10)
        observe(made, report("a"), START + 99, "one")
        made.decide(START + 99)
        observe(made, report("b"), START + 100, "two")
        weights = []
        for second in (0, 5, 20):
            now = START + 100 + second
            observe(made, report("a"), now, "one")
            observe(made, report("b"), now, "two")
            made.decide(now)
            by_id = {n.node_id: n.weight for n in made.services["s"].table.nodes}
            weights.append(round(by_id["b"] / by_id["a"], 2))

        assert weights == [0.1, 0.5, 1.0]


class TestShares:
    def test_two_equal_clients_have_half_each_and_see_the_sum(self):
        made = fleet()
        observe(made, report("a"), START)
        for client in ("x", "y"):
            made.subscribe("s", client, START)
            made.observe_calls(CallReport("s", client, 3, (NodeCalls("a", 4),)), START)
        made.decide(START)
        made.table_of("s", "x")

        share = made.share_of("s", "x", START)

        assert share.share == pytest.approx(0.5)
        assert share.in_flight == {"a": 8.0}
        assert share.counted_sequence == 3

    def test_a_client_that_went_silent_no_longer_counts(self):
        made = fleet()
        observe(made, report("a"), START)
        made.subscribe("s", "x", START)
        made.observe_calls(CallReport("s", "gone", 1, (NodeCalls("a", 50),)), START)
        made.decide(START)
        assert made.services["s"].in_flight == {"a": 50.0}

        made.decide(START + 6)
        assert made.services["s"].in_flight == {"a": 0.0}

    def test_a_client_that_is_told_to_report_seldom_is_silent_for_longer(self):
        made = Fleet(
            Settings(controller=ControllerSettings(shares_per_s=1.0, tick_s=10)), "c", 1, START
        )
        observe(made, report("a"), START)
        for number in range(10):
            made.subscribe("s", f"client {number}", START)
        assert made.decide(START).share_interval_s == 10.0
        made.observe_calls(CallReport("s", "client 1", 1, (NodeCalls("a", 3),)), START)

        made.decide(START + 9)
        assert made.services["s"].in_flight["a"] == 3.0
        made.decide(START + 201)
        assert made.services["s"].in_flight.get("a", 0.0) == 0.0

    def test_a_client_that_is_told_to_report_seldom_is_not_taken_for_quiet_between_reports(self):
        made = Fleet(
            Settings(controller=ControllerSettings(shares_per_s=1.0, tick_s=10)), "c", 1, START
        )
        observe(made, report("a"), START)
        for number in range(10):
            made.subscribe("s", f"client {number}", START)
        for client, spent_s in (("client 1", 40.0), ("client 2", 0.0)):
            made.observe_calls(CallReport("s", client, 1, (NodeCalls("a", 0),)), START)
            later = NodeCalls("a", 0, in_flight_time_s=spent_s)
            made.observe_calls(CallReport("s", client, 2, (later,)), START + 10)
        made.decide(START + 10)
        now = START + 15
        calls = NodeCalls("a", 0, 10, 10, in_flight_time_s=5.0)
        made.observe_calls(CallReport("s", "client 2", 3, (calls,)), now)
        made.decide(now)

        # 4 calls of client 1 in the mean, which has none at this instant, and 1 of client 2
        assert 4 in made.services["s"].nodes["a"].learner._flow._sums

    def test_calls_that_bypass_the_stub_are_seen_by_the_server(self):
        made = fleet()
        made.subscribe("s", "x", START)
        for tick in range(100):
            now = START + tick / 10
            observe(made, report("a", in_flight=10), now)
            made.observe_calls(CallReport("s", "x", tick + 1, (NodeCalls("a", 4),)), now)
            made.decide(now)

        assert made.services["s"].in_flight["a"] == pytest.approx(10, rel=0.05)


def test_calls_that_ended_before_a_node_was_known_here_tell_nothing_of_its_speed():
    made = fleet()  # as after a restart, when clients are back before the sidecar is
    for sequence in (1, 2):
        old = NodeCalls("a", 1, 10_000, 10_000, in_flight_time_s=400.0)
        made.observe_calls(CallReport("s", "x", sequence, (old,)), START + sequence / 10)
    observe(made, report("a"), START + 0.3)
    made.decide(START + 0.3)
    calls = NodeCalls("a", 1, 10_001, 10_001, in_flight_time_s=400.04)
    made.observe_calls(CallReport("s", "x", 3, (calls,)), START + 0.4)

    assert made.services["s"].nodes["a"].calls_ended == 1


def anew(report):
    """The same report, no entry of it an object that was there before."""
    return dataclasses.replace(report, nodes=tuple(NodeCalls(*n) for n in report.nodes))


@pytest.mark.parametrize("seed", range(8))
def test_counts_kept_report_by_report_are_those_of_all_last_reports(seed):
    rng = random.Random(seed)
    kept, told_anew = fleet(), fleet()
    names, clients = ["a", "b", "c", "d"], ["x", "y", "z"]
    said = {client: {} for client in clients}
    at = dict.fromkeys(clients, START)
    for made, client in itertools.product((kept, told_anew), clients):
        made.subscribe("s", client, START)
    for tick in range(1, 400):
        now = START + tick / 10
        for made, name in itertools.product((kept, told_anew), names):
            if tick % 5 == 1:
                observe(made, report(name), now, f"stream of {name}")
        for client in clients:
            if rng.random() < (0.02 if tick % 150 > 70 else 0.5):  # some go silent, and come back
                entries = said[client]
                for name in rng.sample(names, rng.randrange(4)):
                    old = entries.get(name, NodeCalls(name, 0))
                    ended, spent_s = old.succeeded + rng.randrange(3), old.in_flight_time_s + 0.1
                    entries[name] = NodeCalls(
                        name, rng.randrange(3), ended, ended, in_flight_time_s=spent_s
                    )
                if rng.random() < 0.1:
                    entries.pop(rng.choice(names), None)
                whole = CallReport("s", client, tick, tuple(entries.values()))
                at[client] = now
                kept.observe_calls(whole, now)
                told_anew.observe_calls(anew(whole), now)
        assert kept.decide(now) == told_anew.decide(now)

        live = [said[client] for client in clients if now - at[client] <= 5.0]
        assert kept.services["s"].in_flight == {
            name: sum(entries[name].in_flight for entries in live if name in entries)
            for name in names
        }


def test_intervals_grow_with_the_fleet_so_that_a_controller_is_not_flooded():
    made = fleet()
    for number in range(1000):
        observe(made, report(f"n{number}"), START, f"stream {number}")
    for number in range(500):
        made.subscribe("s", f"client {number}", START)

    plan = made.decide(START)

    assert plan.report_interval_s == pytest.approx(0.5)  # 2,000 reports a second
    assert plan.share_interval_s == pytest.approx(0.5)  # 1,000 shares a second


def test_a_repeated_report_changes_nothing():
    made = fleet()
    same = report("a", host_cpu=0.5)
    observe(made, same, START)
    before = made.decide(START).tables["s"]
    observe(made, dataclasses.replace(same), START)

    assert made.decide(START).tables == {}
    assert made.services["s"].table == before


def test_what_may_be_in_flight_is_parted_by_what_clients_want():
    made = fleet(max_in_flight_per_node=10, max_in_flight=15, max_waiting=7)
    for number, node_id in enumerate("ab"):
        observe(made, report(node_id), START, f"stream {number}")
    for client in ("x", "y", "idle"):
        made.subscribe("s", client, START)
    made.observe_calls(CallReport("s", "x", 1, (NodeCalls("a", 2),), waiting=40), START)
    made.observe_calls(CallReport("s", "y", 1, (NodeCalls("b", 2),)), START)
    made.decide(START)
    made.decide(START + 0.1)
    limits = made.services["s"].table.limits
    assert (limits.in_flight, limits.per_node, limits.waiting, limits.clients) == (15, 10, 7, 3)

    def admitted(now):
        return {client: made.share_of("s", client, now).admitted for client in "xy"}

    # One that has just started may know of few nodes: clients keep what another told them.
    assert admitted(START + 0.1) == {"x": None, "y": None}
    made.decide(START + 3)
    made.decide(START + 3.1)
    assert admitted(START + 3.1) == {"x": 13.0, "y": 2.0}


def test_without_limits_nothing_is_said_of_them():
    made = fleet()
    observe(made, report(), START)
    made.subscribe("s", "x", START)
    made.decide(START)
    assert made.services["s"].table.limits is None
    assert made.share_of("s", "x", START).admitted is None
