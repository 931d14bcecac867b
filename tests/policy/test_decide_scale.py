"""Decisions by the smallest example: merging, panic, reasons."""

import dataclasses

import pytest

from meshlb import plugins
from meshlb.policy import scale_merge
from meshlb.policy.decide_scale import decide
from meshlb.scale_model import (
    Observed,
    RuleSpec,
    Verb,
    Want,
)
from tests.policy.decisions import NOW, inputs, load, policy


class _Fixed:
    """A rule that wants what its params say."""

    class Params:
        def __init__(self, **params):
            self.params = params

    @staticmethod
    def wants(inputs, params, name):
        verb = params.params.get("verb")
        count = params.params.get("count")
        used = params.params.get("used")
        return (Want(name, verb and Verb(verb), count, "as told", used),)


@pytest.fixture
def fixed(monkeypatch):
    def load(package, kind):
        return _Fixed if kind == "fixed" else plugins.load(package, kind)

    monkeypatch.setattr(scale_merge, "plugins", type("P", (), {"load": staticmethod(load)}))

    def made(*wants, **more):
        rules = [
            RuleSpec("fixed", {"verb": verb, "count": count}, f"r{at}")
            for at, (verb, count) in enumerate(wants)
        ]
        return policy(*rules, **more)

    return made


class TestMerge:
    @pytest.mark.parametrize(
        ("wants", "target"),
        [
            ([("set", 4), ("set", 6)], 6),
            ([("set", 4), ("at_least", 7)], 7),
            ([("set", 6), ("at_most", 5)], 5),
            ([("set", 4), ("at_least", 9), ("at_most", 5)], 5),
            ([("set", 6), ("reject", None)], 3),
            ([("at_least", 5)], 5),
            ([("at_least", 2)], 3),  # knows no load: no permission
            ([("at_most", 2)], 2),
            ([("set", 2)], 2),
            ([("set", 2), (None, None)], 3),  # a missing signal blocks scale-in
            ([("set", 5), (None, None)], 5),  # and scale-in only
            ([(None, None)], 3),
        ],
    )
    def test_verbs(self, fixed, wants, target):
        assert decide(fixed(*wants), inputs(3)).target == target

    def test_guards_alone_permit_one_less_at_a_time(self):
        guard = policy(RuleSpec("threshold", {"signal": "cpu", "low": 0.5}))
        calm = {"cpu": Observed(1.2, 1.2, 1.2, 0.2, 6, 0)}
        given = inputs(6, signals=calm)
        assert decide(guard, given).target == 5
        assert decide(guard, dataclasses.replace(given, rate_base_in=7)).target == 6
        assert "threshold permits 5" in decide(guard, given).reason

    def test_guards_that_disagree_keep_what_there_is(self):
        guards = policy(
            RuleSpec("threshold", {"signal": "cpu", "low": 0.5}, "cpu"),
            RuleSpec("threshold", {"signal": "memory", "low": 0.5}, "memory"),
        )
        signals = {
            "cpu": Observed(0.6, 0.6, 0.6, 0.2, 3, 0),
            "memory": Observed(1.8, 1.8, 1.8, 0.6, 3, 0),
        }
        assert decide(guards, inputs(3, signals=signals)).target == 3

    def test_no_rule_at_all_keeps_what_there_is_within_bounds(self):
        nothing = dataclasses.replace(policy(), rules=())
        assert decide(nothing, inputs(3)).target == 3
        assert decide(nothing, inputs(300)).target == 100


class TestPanic:
    def test_it_begins_at_twice_the_ready_nodes_and_uses_the_panic_window(self):
        calm = decide(policy(), inputs(3, signals=load(30, panic=59)))
        assert (calm.panic, calm.target) == (True, 6)
        calm = decide(policy(), inputs(3, signals=load(30, panic=50)))
        assert (calm.panic, calm.target) == (False, 3)

    def test_one_node_more_is_no_panic(self):
        assert not decide(policy(), inputs(1, signals=load(9, panic=19))).panic
        assert decide(policy(), inputs(1, signals=load(9, panic=21))).panic

    def test_a_reserve_for_what_may_come_is_none(self):
        given = inputs(1, signals=load(9, panic=9), slots=20.0, start_up_s=1e9)
        decision = decide(policy(RuleSpec("reserve", {"target": 10.0})), given)
        assert (decision.panic, decision.target) == (False, 3)

    def test_it_never_scales_in(self):
        decision = decide(policy(), inputs(8, total=10.0, panic_since=NOW - 30))
        assert decision.target == 8
        assert decision.panic

    def test_it_does_not_wait_for_the_scale_out_window(self):
        waiting = inputs(3, signals=load(30, panic=60), recent_least=3)
        assert decide(policy(scale_out_window_s=60.0), waiting).target == 6


class TestReasons:
    def test_they_name_rule_count_and_figures(self):
        reserve = policy(RuleSpec("reserve", {"target": 8.0, "k": 0.8}))
        decision = decide(reserve, inputs(4, total=41.2))
        assert decision.reason == "4 -> 6: reserve wants 6 (41.2 in flight / 8 a node + 0.8 spare)"

    def test_what_is_missing_is_named(self):
        decision = decide(policy(), inputs(4, signals={}))
        assert decision.reason == "stays 4: group cannot tell (in flight is not measured)"

    def test_a_clamp_says_why_not(self):
        decision = decide(policy(max=5), inputs(4, total=70.0))
        assert decision.reason == (
            "4 -> 5: group wants 7 (70 in flight / 10 a node), but at most 5 (the policy)"
        )
