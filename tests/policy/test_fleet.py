"""The controller's mind as time tables: what is said of a node, and what it then is."""

import pytest

from meshlb.errors import ConflictError
from meshlb.model import (
    CallReport,
    Health,
    NodeCalls,
    NodeState,
)
from tests.policy.fleets import START, fleet, observe, report, states


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

        made.decide(START + 60)
        plan = made.decide(START + 66)  # after so long a gap nobody is forgotten
        assert states(made) == {"a": NodeState.UNKNOWN}
        for now in (START + 67, START + 69, START + 71):
            plan = made.decide(now)

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
