"""The controller's mind as time tables: what is said when, and what follows."""

import dataclasses
import itertools
import random

import pytest

from meshlb.errors import ConflictError
from meshlb.model import (
    CallReport,
    Health,
    LoadReport,
    NodeCalls,
    NodeInfo,
    NodeState,
)
from meshlb.policy.fleet import Fleet
from meshlb.settings import ControllerSettings, ServiceSettings, Settings

START = 1000.0


def fleet(**of_service):
    return Fleet(Settings(default=ServiceSettings(**of_service)), "c", 1, START)


def report(node_id="a", incarnation=1, address=None, **figures):
    address = address or f"{node_id}:80"
    return LoadReport(NodeInfo("s", node_id, incarnation, address), **figures)


def states(made):
    return {key: state for key, (state, _) in made.services["s"].states.items()}


def observe(made, what, now, stream="stream of a", clock=None):
    return made.observe_report(
        what, stream, now, what.observe_time_s or 0.0 if clock is None else clock
    )


class TestStates:
    def test_a_node_is_active_while_it_reports_then_unknown_then_forgotten(self):
        made = fleet(fresh_s=3, forget_s=60)
        observe(made, report(), START)
        table = {
            START: NodeState.ACTIVE,
            START + 2.9: NodeState.ACTIVE,
            START + 3.1: NodeState.UNKNOWN,
            START + 59: NodeState.UNKNOWN,
        }
        for now, wanted in table.items():
            made.decide(now)
            assert (now, states(made)) == (now, {"a": wanted})

        plan = made.decide(START + 61)

        assert states(made) == {}
        assert plan.changes[0].after is None

    def test_a_silent_node_that_clients_call_well_is_not_forgotten(self):
        made = fleet(forget_s=60)
        observe(made, report(), START)
        made.subscribe("s", "client", START)
        for second in range(1, 200):
            calls = NodeCalls("a", in_flight=0, started=second, succeeded=second)
            made.observe_calls(CallReport("s", "client", second, (calls,)), START + second)
            made.decide(START + second)

        assert states(made) == {"a": NodeState.UNKNOWN}

    def test_a_goodbye_makes_the_node_unknown_at_once_and_drain_withdraws_it(self):
        made = fleet()
        observe(made, report("a"), START, "one")
        observe(made, report("b"), START, "two")
        made.goodbye("s", "a", "one", drain=False)
        made.goodbye("s", "b", "two", drain=True)
        made.subscribe("s", "client", START)
        made.decide(START + 0.1)

        assert states(made) == {"a": NodeState.UNKNOWN, "b": NodeState.DRAINING}

    def test_a_drained_node_goes_when_its_calls_ended_and_every_client_knows(self):
        made = fleet()
        observe(made, report("a"), START, "one")
        observe(made, report("b"), START, "two")
        made.subscribe("s", "client", START)
        busy = CallReport("s", "client", 1, (NodeCalls("a", 1), NodeCalls("b", 0)))
        made.observe_calls(busy, START)
        made.decide(START + 0.1)
        made.goodbye("s", "a", "one", drain=True)
        version = made.decide(START + 0.2).tables["s"].version
        assert states(made)["a"] is NodeState.DRAINING

        made.acknowledge("s", "client", 1, version)
        made.decide(START + 0.3)
        assert "a" in states(made)  # one call still runs there

        idle = CallReport("s", "client", 2, (NodeCalls("a", 0), NodeCalls("b", 0)))
        made.observe_calls(idle, START + 0.4)
        made.decide(START + 0.4)
        made.decide(START + 0.5)
        assert "a" not in states(made)

    def test_a_client_that_has_not_applied_the_withdrawal_holds_the_node(self):
        made = fleet()
        observe(made, report("a"), START, "one")
        made.subscribe("s", "slow client", START)
        made.decide(START + 0.1)
        made.goodbye("s", "a", "one", drain=True)
        for tick in range(2, 20):
            made.decide(START + tick / 10)

        assert states(made) == {"a": NodeState.DRAINING}

    def test_a_failing_health_check_shows_and_mends(self):
        made = fleet()
        observe(made, report(health=Health.NOT_SERVING), START)
        made.decide(START)
        assert states(made) == {"a": NodeState.UNHEALTHY}

        observe(made, report(health=Health.SERVING), START + 1)
        made.decide(START + 1)
        assert states(made) == {"a": NodeState.ACTIVE}


class TestClaims:
    def test_a_newer_incarnation_takes_the_address_over(self):
        made = fleet()
        observe(made, report("old", 1, "h:80"), START, "one")
        observe(made, report("new", 2, "h:80"), START + 1, "two")
        made.decide(START + 1)

        assert states(made) == {"new": NodeState.ACTIVE}

    @pytest.mark.parametrize("incarnation", [1, 5])
    def test_an_address_held_by_a_live_sidecar_is_refused_to_one_not_newer(self, incarnation):
        made = fleet()
        observe(made, report("holder", 5, "h:80"), START, "one")
        made.decide(START)

        with pytest.raises(ConflictError, match=r"'h:80'.*held by node 'holder'") as caught:
            observe(made, report("thief", incarnation, "h:80"), START + 1, "two")

        made.decide(START + 1)
        assert caught.value.reason == "ADDRESS_IN_USE"
        assert states(made) == {"holder": NodeState.ACTIVE}

    def test_an_older_run_of_the_same_node_is_refused(self):
        made = fleet()
        observe(made, report("a", 5), START, "one")

        with pytest.raises(ConflictError) as caught:
            observe(made, report("a", 4), START, "two")

        assert caught.value.reason == "STALE_INCARNATION"

    def test_the_same_sidecar_may_come_back_on_a_new_stream(self):
        made = fleet()
        observe(made, report("a", 5), START, "one")
        made.stream_lost("s", "a", "one")
        observe(made, report("a", 5), START + 1, "two")
        made.decide(START + 1)

        assert states(made) == {"a": NodeState.ACTIVE}

    def test_an_old_stream_that_ends_late_does_not_end_the_new_one(self):
        made = fleet()
        observe(made, report("a", 5), START, "one")
        observe(made, report("a", 5), START + 1, "two")
        made.goodbye("s", "a", "one", drain=True)
        made.decide(START + 1)

        assert states(made) == {"a": NodeState.ACTIVE}

    def test_a_clock_that_is_off_is_warned_of_once_and_counts_for_nothing(self):
        made = fleet()
        late = report(observe_time_s=100.0)

        first = observe(made, late, START, clock=500.0)
        second = observe(made, late, START + 1, clock=501.0)
        made.decide(START + 1)

        assert "-400 s off" in first
        assert second is None
        assert states(made) == {"a": NodeState.ACTIVE}


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
            observe(made, report(name), START + 10, name)
        made.decide(START + 10)
        made.subscribe("s", "client", START + 10)
        published = []
        for tick in range(1, 100):
            now = START + 10 + tick / 10
            # a's calls take longer and longer, so that its speed moves at all times
            calls = NodeCalls("a", 2, 5 * tick, 5 * tick, in_flight_time_s=0.004 * tick**2)
            made.observe_calls(CallReport("s", "client", tick, (calls,)), now)
            for name in ("a", "b", "c", "d"):
                observe(made, report(name), now, name)
            if made.decide(now).tables:
                published.append(round(now - START - 10, 1))
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
