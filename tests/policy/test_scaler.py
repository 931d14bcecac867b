"""One service over time: load as a table, the fleet as a model, targets as they follow."""

import itertools
import random

import pytest

from meshlb.model import SpeedCurve
from meshlb.policy.flapping import reversals
from meshlb.policy.scale_record import replay, to_json
from meshlb.policy.scaler import Scaler
from meshlb.scale_model import (
    Manual,
    Pause,
    Reading,
    RuleSpec,
    Sample,
    ScalePolicy,
)

UNIX = 1.7e9
TICK = 0.1


def policy(*rules, **more):
    rules = rules or (RuleSpec("group", {"target": 10.0}),)
    return ScalePolicy("s", rules=rules, **({"max": 100} | more))


class World:
    """A fleet whose nodes start in ``start_up_s``, under a load told by the test."""

    def __init__(self, made, start_up_s=30.0, ready=1, now=0.0, **of_scaler):
        self.scaler = Scaler(made, now, **({"previous": ready} | of_scaler))
        self.now = now
        self.start_up_s = start_up_s
        self.ready = ready
        self.starting = []
        self.targets = []
        self.decisions = []

    def run(self, seconds, in_flight, tick=TICK, waiting=0, **signals):
        for _ in range(round(seconds / tick)):
            self.now += tick
            self.ready += sum(1 for at in self.starting if at <= self.now)
            self.starting = [at for at in self.starting if at > self.now]
            total = in_flight(self.now) if callable(in_flight) else in_flight
            readings = {"in_flight": Reading(total, self.ready)}
            for name, signal in signals.items():
                readings[name] = Reading(signal(self), self.ready)
            sample = Sample(
                self.ready, len(self.starting), 0, readings, waiting, start_up_s=self.start_up_s
            )
            self.scaler.observe(sample, self.now)
            decision = self.scaler.decide(self.now, UNIX + self.now)
            self.decisions.append(decision)
            self.targets.append((self.now, decision.target))
            there = self.ready + len(self.starting)
            self.starting += [self.now + self.start_up_s] * max(0, decision.target - there)
            while self.ready + len(self.starting) > decision.target:
                if self.starting:
                    self.starting.pop()
                else:
                    self.ready -= 1
        return self.scaler.target

    @property
    def changes(self):
        kept = [next(group) for _, group in itertools.groupby(self.targets, key=lambda x: x[1])]
        return [(round(at, 1), target) for at, target in kept]


class TestReaction:
    @pytest.mark.parametrize("before", [0.0, 0.5, 0.8, 1.0])
    @pytest.mark.parametrize("nodes", [1, 2, 5, 20])
    def test_a_step_to_ten_times_capacity_is_answered_within_a_second(self, nodes, before):
        world = World(policy(max=1000, min=nodes), ready=nodes)
        world.run(120, 10.0 * nodes * before, tick=0.5)
        assert world.scaler.target == nodes
        stepped = world.now

        world.run(0.9, 100.0 * nodes)

        first = next(at for at, target in world.targets if target > nodes)
        assert first - stepped < 1.0

    def test_the_whole_of_it_is_ordered_by_doubling(self):
        world = World(policy(), ready=5)
        world.run(60, 50.0)
        world.run(60, 500.0)
        assert world.scaler.target == 50

    def test_a_spike_shorter_than_the_windows_costs_little(self):
        world = World(policy(), ready=5)
        world.run(60, 45.0)
        world.run(0.3, 90.0)
        world.run(60, 45.0)
        assert world.scaler.target <= 6


class TestStarts:
    @pytest.mark.parametrize("start_up_s", [30.0, 300.0, 1e9])
    @pytest.mark.parametrize(
        "rule",
        [
            RuleSpec("group", {"target": 10.0}),
            RuleSpec("reserve", {"target": 10.0}),
            RuleSpec("threshold", {"signal": "cpu", "high": 0.8}),
        ],
    )
    def test_nothing_runs_away_while_replicas_start(self, rule, start_up_s):
        world = World(policy(rule), ready=3, start_up_s=start_up_s)

        def cpu(world):
            return min(1.0, 38.0 / 10 / world.ready) * world.ready

        world.run(900, 38.0, tick=0.5, cpu=cpu)

        assert world.scaler.target <= 6  # 3.8 nodes of load, below 80 %: 5, and one more

    def test_a_guard_steps_on_once_the_last_step_has_shown(self):
        def cpu(world):
            return min(1.0, 7.5 / world.ready) * world.ready

        world = World(policy(RuleSpec("threshold", {"signal": "cpu"})), ready=3, start_up_s=10)
        world.run(300, 0.0, tick=0.2, cpu=cpu)

        assert world.scaler.target == 10  # 7.5 nodes of load below 80 %: at least 9.4
        assert world.changes[0] == (0.2, 4)


class TestScaleIn:
    def test_it_waits_for_the_window_then_falls_to_what_was_wanted(self):
        world = World(policy(), ready=8)
        world.run(60, 75.0)
        fell = world.now
        world.run(700, 20.0, tick=0.5)

        assert world.scaler.target == 3
        first = next(at for at, target in world.targets if target < 8)
        assert first - fell >= 300.0

    def test_a_count_set_by_hand_is_left_after_the_window_and_named_as_the_bounds_had_it(self):
        world = World(policy(max=8), ready=1)
        world.run(60, 5.0)
        world.scaler.manual = Manual(count=30)
        world.run(400, 5.0, tick=0.5)
        assert world.scaler.target == 8
        world.scaler.manual = None
        cleared = world.now
        world.run(1, 5.0)
        assert world.decisions[-1].reason.endswith("but 8 was wanted within 300 s")
        world.run(400, 5.0, tick=0.5)
        assert world.scaler.target == 1
        first = next(at for at, target in world.targets if at > cleared and target < 8)
        assert first - cleared == pytest.approx(300.0, abs=1.0)

    def test_noise_makes_no_reversals(self):
        world = World(policy(RuleSpec("reserve", {"target": 10.0})), ready=6)

        rng = random.Random(3)
        world.run(1800, lambda _: rng.uniform(35.0, 55.0), tick=0.5)
        assert reversals(world.targets) == 0

    def test_a_day_in_small_up_and_down_and_to_none(self):
        world = World(policy(min=0, idle_limit_s=120.0), ready=1, start_up_s=5)
        world.run(120, 35.0)
        assert world.scaler.target == 4
        world.run(600, 0.0, tick=0.5)
        assert world.scaler.target == 0
        assert world.ready == 0
        at = world.now
        world.run(1, 3.0, waiting=3)
        assert world.scaler.target == 1
        assert world.changes[-1] == (round(at + TICK, 1), 1)


class TestMissing:
    def test_a_signal_that_is_gone_keeps_the_target_for_ever(self):
        world = World(policy(), ready=8)
        world.run(60, 75.0)
        for second in range(0, 3600, 5):
            now = world.now + 1 + second
            world.scaler.observe(Sample(8, 0, 0, {}), now)
            decision = world.scaler.decide(now, UNIX + now)
            assert decision.target == 8
        assert decision.clamps == ()
        assert "in flight is not measured" in decision.reason

    def test_a_silent_node_counts_like_the_mean_of_the_others(self):
        scaler = Scaler(policy(RuleSpec("group", {"signal": "cpu", "target": 0.5})), 0.0, 4)
        for tick in range(600):
            reading = Reading(1.2, measured=3, missing=1)
            scaler.observe(Sample(4, 0, 0, {"cpu": reading}), tick / 10)
            decision = scaler.decide(tick / 10, UNIX)
        assert decision.wants[0].count == 4  # 4 x 40 % / 50 %


class TestRestart:
    def test_a_new_scaler_holds_scale_in_for_a_window_and_its_hold(self):
        world = World(policy(), ready=8, hold_in=(400.0, "the controller has just started"))
        world.run(299, 10.0, tick=0.5)
        assert world.scaler.target == 8
        assert "8 was wanted within 300 s" in world.decisions[-1].reason
        world.run(90, 10.0, tick=0.5)
        assert world.scaler.target == 8
        assert world.decisions[-1].reason.endswith("but the controller has just started")
        world.run(20, 10.0)
        assert world.scaler.target < 8

    def test_without_a_known_target_it_takes_over_the_nodes_that_come_in(self):
        scaler = Scaler(policy(), 0.0, hold_in=(10.0, "just started"))
        targets = []
        for second, ready in enumerate([0, 2, 5, 5]):
            reading = {"in_flight": Reading(1.0, ready)} if ready else {}
            scaler.observe(Sample(ready, 0, 0, reading), float(second))
            targets.append(scaler.decide(float(second), UNIX).target)
        assert targets == [1, 2, 5, 5]

    def test_it_grows_at_once(self):
        world = World(policy(), ready=2, hold_in=(400.0, "just started"))
        world.run(5, 60.0)
        assert world.scaler.target == 6


class TestSettings:
    def test_a_policy_can_be_put_in_the_place_of_another(self):
        world = World(policy(), ready=4)
        world.run(60, 40.0)
        world.scaler.policy = policy(RuleSpec("group", {"target": 5.0}), stable_window_s=30.0)
        world.run(1, 40.0)
        assert world.scaler.target == 8

    def test_manual_and_its_end(self):
        world = World(policy(), ready=4)
        world.run(60, 30.0)
        world.scaler.manual = Manual(count=9, expires_at=UNIX + world.now + 100)
        world.run(1, 30.0)
        assert world.scaler.target == 9
        world.run(500, 30.0, tick=0.5)
        assert world.scaler.target == 4

    def test_every_decision_replays_bit_for_bit(self):
        world = World(policy(RuleSpec("reserve", {"target": 10.0})), ready=2, start_up_s=20)
        world.run(30, 12.0, tick=0.7)
        world.run(60, lambda now: 12.0 + 3.3 * (now - 30), tick=0.7)
        world.run(400, 9.0, tick=0.7)
        for decision in world.decisions:
            text = to_json(decision)
            again = replay(text)
            assert again == decision
            assert to_json(again) == text


class TestCapacity:
    def sample(self, in_flight, curve, ready=4, slots=None):
        load = {"in_flight": Reading(in_flight, ready)}
        return Sample(ready, 0, 0, load, curve=curve, slots=slots)

    def test_a_curve_learned_under_little_load_does_not_shrink_what_a_node_can_do(self):
        scaler = Scaler(policy(RuleSpec("group")), 0.0, 4)
        busy, quiet = SpeedCurve(1.0, 1 / 16, 16), SpeedCurve(1.0, 1 / 2, 2)
        scaler.observe(self.sample(50.0, busy), 1.0)
        scaler.observe(self.sample(4.0, quiet), 2.0)
        assert scaler.inputs(2.0, UNIX).curve == busy
        scaler.observe(self.sample(0.0, None), 3.0)
        assert scaler.inputs(3.0, UNIX).curve == busy
        slower = SpeedCurve(2.0, 1 / 4, 8)
        scaler.observe(self.sample(40.0, slower), 4.0)
        assert scaler.inputs(4.0, UNIX).curve == slower

    def test_slots_are_remembered_while_there_is_no_node(self):
        scaler = Scaler(policy(RuleSpec("group"), min=0), 0.0, 1)
        scaler.observe(self.sample(1.0, None, ready=1, slots=16.0), 1.0)
        scaler.observe(Sample(0, 0, 0, {"in_flight": Reading(40.0, 0)}, 40), 2.0)
        assert scaler.inputs(2.0, UNIX).slots == 16.0

    def test_without_load_nothing_need_be_known_of_nodes(self):
        scaler = Scaler(policy(RuleSpec("reserve"), scale_in_window_s=0.0), 0.0, 3)
        scaler.observe(self.sample(0.0, None, ready=3), 1.0)
        decision = scaler.decide(1.0, UNIX)
        assert decision.target == 1
        assert decision.reason == ("3 -> 1: reserve wants 0 (no load), but at least 1 (the policy)")


def test_what_was_taken_away_by_hand_while_nodes_are_taken_over_stays_away():
    scaler = Scaler(ScalePolicy("s", max=9), 0.0, hold_in=(60.0, "just started"))
    scaler.observe(Sample(ready=2, starting=0, draining=0, readings={}), 1.0)
    assert scaler.decide(1.0, 1.0).target == 2
    scaler.manual = Manual(count=1)
    assert scaler.decide(1.1, 1.1).target == 1
    scaler.pause = Pause(scale_out=True, scale_in=True)

    assert scaler.decide(1.2, 1.2).target == 1
