"""What the smaller scaling rules want, by examples."""

import pytest

from meshlb import plugins
from meshlb.model import SpeedCurve
from meshlb.policy.decide_scale import decide
from meshlb.scale_model import (
    Manual,
    RuleSpec,
    ScalePolicy,
    Verb,
)
from tests.policy.wants import ask, inputs, one, seen


class TestGroup:
    def test_the_known_case_three_nodes_at_60_percent_of_80_needs_no_change(self):
        # nodes loaded 10, 20 and 30: CPU 30, 60 and 90 %, in the mean 60 %
        cpu = seen(0.3 + 0.6 + 0.9, measured=3)
        policy = ScalePolicy("s", rules=(RuleSpec("group", {"signal": "cpu", "target": 0.8}),))

        decision = decide(policy, inputs(previous=3, signals={"cpu": cpu}))

        assert decision.wants[0].count == 3
        assert decision.target == 3
        assert decision.reason == "stays 3: group wants 3 (cpu 180 % / 80 % a node)"

    @pytest.mark.parametrize(
        ("total", "target", "count"),
        [(0.0, 8, 0), (0.1, 8, 1), (8, 8, 1), (8.1, 8, 2), (60, 20, 3),
         (1.8, 0.6, 3), (1e300, 1, 10_000)],
    )  # fmt: skip
    def test_counts(self, total, target, count):
        want = one("group", inputs(signals={"in_flight": seen(total)}), target=target)
        assert (want.verb, want.count) == (Verb.SET, count)

    def test_starting_nodes_change_nothing(self):
        load = {"in_flight": seen(100, measured=3)}
        calm = one("group", inputs(3, signals=load), target=8)
        busy = one("group", inputs(13, ready=3, starting=10, signals=load), target=8)
        assert calm.count == busy.count == 13

    def test_nodes_that_never_told_count_like_the_mean(self):
        want = one(
            "group", inputs(4, signals={"gpu": seen(0.9, measured=1)}), signal="gpu", target=0.9
        )
        assert want.count == 4

    def test_auto_is_the_declared_slots_else_the_learned_curve(self):
        load = {"in_flight": seen(40)}
        of_slots = inputs(slots=8.0, curve=SpeedCurve(1, 0.5, 2), signals=load)
        assert one("group", of_slots).count == 5
        assert one("group", inputs(curve=SpeedCurve(1, 0.25, 4), signals=load)).count == 10
        # an engine that batches: at 10 in flight latency has doubled
        assert one("group", inputs(curve=SpeedCurve(1, 0.1, 1), signals=load)).count == 4
        assert one("group", inputs(signals=load)).verb is None

    def test_many_silent_nodes_block_scale_in(self):
        load = {"cpu": seen(0.4, measured=4, missing=1)}
        wants = ask("group", inputs(5, signals=load), signal="cpu", target=0.8)
        assert [w.verb for w in wants] == [Verb.SET, None]
        assert "1 of 5 nodes" in wants[1].reason

    @pytest.mark.parametrize(
        "params",
        [
            {"signal": "response_time"},
            {"signal": "speed"},
            {"target": 0},
            {"target": -1},
            {"target": float("nan")},
            {"target": True},
            {"target": "much"},
            {"signal": "cpu", "target": 80},
            {"signal": "tokens", "target": "auto"},
        ],
    )
    def test_faults(self, params):
        module = plugins.load("meshlb.policy.rules", "group")
        faults = module.Params(**params).faults()
        assert len(faults) == 1
        assert " = " in faults[0]


class TestManual:
    def test_a_count_holds_until_it_expires(self):
        manual = Manual(count=7, expires_at=1.7e9 + 600, reason="launch")
        want = one("manual", inputs(manual=manual))
        assert (want.verb, want.count) == (Verb.SET, 7)
        assert want.reason == "set by hand, for 10 min more: launch"
        assert ask("manual", inputs(manual=Manual(count=7, expires_at=1.7e9))) == ()
        assert ask("manual", inputs(manual=Manual(min=2))) == ()

    def test_a_policy_may_fix_a_count(self):
        assert one("manual", inputs(), count=4).count == 4
        assert one("manual", inputs(manual=Manual(count=9)), count=4).count == 9


class TestThreshold:
    def cpu(self, mean, panic=None, ready=3, **more):
        panic = mean if panic is None else panic
        signal = seen(mean * ready, measured=ready, panic=panic * ready)
        return inputs(ready=ready, signals={"cpu": signal}, **more)

    def test_above_between_below(self):
        assert one("threshold", self.cpu(0.9), low=0.5).count == 4
        assert one("threshold", self.cpu(0.9), low=0.5, step=3).count == 6
        assert one("threshold", self.cpu(0.6), low=0.5).count == 3
        assert one("threshold", self.cpu(0.4), low=0.5).count == 0
        assert one("threshold", self.cpu(0.7)).count == 0

    def test_what_starts_already_is_waited_for(self):
        # 3 nodes at 95 %, 1 starts: over four that is 71 %
        assert one("threshold", self.cpu(0.95, previous=4, starting=1)).count == 4
        # five starts are needed at least: over 4 that would still be above
        far = self.cpu(0.95, ready=10, previous=11, starting=1)
        assert one("threshold", far).count == 12

    def test_relief_in_the_last_seconds_ends_it(self):
        want = one("threshold", self.cpu(0.9, panic=0.6))
        assert want.count == 3
        assert "no more in the last seconds" in want.reason

    def test_latencies_wait_for_every_start(self):
        slow = {"response_time": seen(2.0, measured=3, mean=2.0)}
        params = {"signal": "response_time", "high": 1.0}
        assert one("threshold", inputs(3, signals=slow), **params).count == 4
        starting = inputs(4, ready=3, starting=1, signals=slow)
        assert one("threshold", starting, **params).count == 4

    def test_no_calls_have_no_latency_and_that_is_no_reason_to_stay(self):
        idle = inputs(3, signals={"in_flight": seen(0.0, measured=3)})
        want = one("threshold", idle, signal="response_time", high=1.0)
        assert (want.verb, want.count) == (Verb.AT_LEAST, 0)

    @pytest.mark.parametrize(
        "params", [{"high": 80}, {"high": 0.5, "low": 0.6}, {"step": 0}, {"step": 1.5}]
    )
    def test_faults(self, params):
        module = plugins.load("meshlb.policy.rules", "threshold")
        assert len(module.Params(**params).faults()) == 1


class TestForecast:
    def test_it_only_ever_raises(self):
        given = inputs(3, forecast={"in_flight": 80.0}, start_up_s=155.0)
        want = one("forecast", given, target=10)
        assert (want.verb, want.count) == (Verb.AT_LEAST, 8)
        assert want.reason == "80 in flight forecast in 155 s / 10 a node"

    def test_none_says_nothing_and_a_breath_of_one_wakes_nobody(self):
        assert ask("forecast", inputs(3), target=10) == ()
        assert one("forecast", inputs(3, forecast={"in_flight": 0.3}), target=10).count == 0
