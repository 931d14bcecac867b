"""What moves a target or holds it back: bounds, windows, rates, none at all, and people."""

import pytest

from meshlb.policy.decide_scale import decide
from meshlb.scale_model import (
    Manual,
    Observed,
    Pause,
    RuleSpec,
)
from tests.policy.decisions import NOW, inputs, load, policy, steps


class TestManual:
    def test_it_overrides_all_that_is_computed_at_once(self):
        held = inputs(
            3,
            manual=Manual(count=1, reason="night"),
            recent_most=50,
            hold_in="just started",
            panic_since=NOW,
            reported=0.1,
        )
        decision = decide(policy(), held)
        assert decision.target == 1
        assert decision.reason == "3 -> 1: manual wants 1 (set by hand: night)"

    def test_but_not_bounds_and_pauses(self):
        assert decide(policy(max=8), inputs(3, manual=Manual(count=20))).target == 8
        assert decide(policy(min=2), inputs(3, manual=Manual(count=0))).target == 2
        paused = inputs(3, manual=Manual(count=1), pause=Pause(scale_in=True, reason="sale"))
        decision = decide(policy(), paused)
        assert decision.target == 3
        assert decision.reason.endswith("but scale-in is paused: sale")

    def test_bounds_set_by_hand_take_the_place_of_the_policys(self):
        raised = inputs(3, manual=Manual(min=12, max=15))
        assert decide(policy(max=10), raised).target == 12
        expired = inputs(3, manual=Manual(min=12, expires_at=NOW - 1))
        assert decide(policy(max=20), expired).target == 3
        assert decide(policy(max=10), inputs(3, manual=Manual(min=12))).target == 10


class TestClamps:
    def test_tolerance_keeps_small_changes_from_large_fleets_but_not_guards(self):
        assert decide(policy(), inputs(50, total=540.0)).target == 50
        assert decide(policy(), inputs(50, total=560.0)).target == 56
        guarded = policy(
            RuleSpec("group", {"target": 10.0}), RuleSpec("threshold", {"signal": "cpu"})
        )
        cpu = {"cpu": Observed(45.0, 45.0, 45.0, 0.9, 50, 0)}
        hot = inputs(50, signals=load(500.0) | cpu)
        assert decide(guarded, hot).target == 51

    def test_a_target_falls_to_the_greatest_want_of_the_window(self):
        decision = decide(policy(), inputs(9, total=20.0, recent_most=7))
        assert decision.target == 7
        assert "7 was wanted within 300 s" in decision.reason
        assert decide(policy(), inputs(9, total=20.0, recent_most=12)).target == 9

    def test_a_target_rises_to_the_least_want_of_the_window(self):
        slow = policy(scale_out_window_s=30.0)
        assert decide(slow, inputs(3, total=50.0, recent_least=4)).target == 4
        assert decide(slow, inputs(3, total=50.0, recent_least=2)).target == 3

    def test_consolidation_is_vetoed_where_one_less_would_be_nearly_full(self):
        # 2.5 nodes of load: three would be at 83 %, above 80 %
        decision = decide(policy(), inputs(4, total=25.0))
        assert decision.target == 4
        assert steps(decision) == ["consolidation"]
        assert "3 would be at 83% of group's objective" in decision.reason
        assert decide(policy(), inputs(4, total=24.0)).target == 3

    @pytest.mark.parametrize(
        ("more", "name"),
        [
            ({"reported": 0.89}, "reported"),
            ({"hold_in": "the controller has just started"}, "hold"),
            ({"pause": Pause(scale_in=True)}, "pause"),
            ({"panic_since": NOW - 1}, "panic"),
            ({"signals": load(10.0, measured=3, missing=1)}, "missing"),
        ],
    )
    def test_what_holds_scale_in(self, more, name):
        decision = decide(policy(), inputs(6, **({"total": 10.0} | more)))
        assert decision.target == 6
        assert steps(decision)[-1] == name

    def test_what_holds_scale_in_lets_it_grow(self):
        more = {"reported": 0.5, "hold_in": "x", "pause": Pause(scale_in=True)}
        assert decide(policy(), inputs(3, total=45.0, **more)).target == 5

    def test_a_pause_of_growth(self):
        decision = decide(policy(), inputs(3, total=45.0, pause=Pause(scale_out=True)))
        assert decision.target == 3

    @pytest.mark.parametrize(
        ("previous", "base", "total", "target"),
        [(1, 1, 1000, 5), (5, 1, 1000, 5), (10, 10, 1000, 20), (3, 3, 60, 6)],
    )
    def test_growth_is_four_nodes_or_double_in_a_period(self, previous, base, total, target):
        given = inputs(previous, total=float(total), rate_base_out=base)
        assert decide(policy(), given).target == target

    def test_shrinking_has_no_limit_but_one_that_is_set(self):
        assert decide(policy(), inputs(50, total=8.0)).target == 1
        stepped = policy(scale_in_step=2)
        assert decide(stepped, inputs(50, total=8.0)).target == 48
        assert decide(stepped, inputs(49, total=8.0, rate_base_in=50)).target == 48

    def test_bounds_come_last(self):
        assert decide(policy(min=5), inputs(3, pause=Pause(scale_out=True))).target == 5
        assert decide(policy(max=2), inputs(3, pause=Pause(scale_in=True))).target == 2


class TestZero:
    resting = policy(RuleSpec("reserve", {"target": 10.0, "k": 1}), min=0)

    def test_an_idle_service_goes_to_none_after_its_limit_only(self):
        early = inputs(1, total=0.0, idle_s=299.0, recent_most=1)
        assert decide(self.resting, early).target == 1
        late = inputs(1, total=0.0, idle_s=300.0, recent_most=1)
        decision = decide(self.resting, late)
        assert decision.target == 0
        assert decision.reason.endswith("but no call for 300 s")

    def test_without_reserve_one_stays_until_the_limit(self):
        group = policy(min=0)
        assert decide(group, inputs(2, total=0.0, idle_s=10.0)).target == 1

    @pytest.mark.parametrize(
        "more",
        [
            {"idle_s": None},
            {"hold_in": "just started"},
            {"pause": Pause(scale_in=True)},
            {"reported": 0.5},
            {"waiting": 1},
        ],
    )
    def test_what_keeps_it_awake(self, more):
        given = inputs(1, total=0.0, **({"idle_s": 1000.0} | more))
        assert decide(self.resting, given).target == 1

    def test_a_forecast_keeps_it_awake(self):
        seer = policy(
            RuleSpec("reserve", {"target": 10.0}), RuleSpec("forecast", {"target": 10.0}), min=0
        )
        given = inputs(1, total=0.0, idle_s=1000.0, forecast={"in_flight": 5.0})
        assert decide(seer, given).target == 1

    def test_at_rest_it_gets_no_reserve(self):
        assert decide(self.resting, inputs(0, total=0.0, ready=0)).target == 0

    def test_the_first_waiting_call_wakes_it_at_once(self):
        asleep = inputs(0, ready=0, signals={}, waiting=1)
        decision = decide(self.resting, asleep)
        assert decision.target == 1
        assert decision.reason.endswith("but 1 call waits for a node")
        many = inputs(0, total=35.0, ready=0, waiting=35)
        assert decide(self.resting, many).target == 4  # 4.5 rounded up, 4 at a time

    def test_set_to_none_by_hand_it_stays_there(self):
        off = inputs(0, ready=0, total=5.0, waiting=5, manual=Manual(count=0))
        assert decide(self.resting, off).target == 0
